"""The frozen description of a machine at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.model import Device, ExecutionProvider


@dataclass(frozen=True, slots=True)
class Cpu:
    """``usable_cores`` counts affinity, cgroup quota and physical cores: what a thread pool should be sized by.

    ``flags`` are what the operating system calls them; ``kernels`` are those among them that ONNX Runtime has int4 and
    int8 kernels for, by one name each on every system. The kinds of cores are None where the system does not tell.
    """

    name: str
    physical_cores: int
    logical_cores: int
    usable_cores: int
    flags: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    performance_cores: int | None = None
    efficiency_cores: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """``available_bytes`` already respects ``limit_bytes``, the smallest cgroup limit above this process, or None.

    Swap is told, and never counted as available: a model that is swapped out answers no faster than the disk.
    """

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU or NPU. ``usable`` if an execution provider of this installation can drive it; else ``reason`` says why.

    ``execution_providers`` are the installed ones that can. ``memory_*`` is memory of its own: None where it is unknown
    or the machine's RAM, of which an integrated one may use ``shared_memory_bytes``, if that is known.
    """

    name: str
    device: Device
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    usable: bool = False
    reason: str | None = None
    execution_providers: tuple[ExecutionProvider, ...] = ()
    vendor: str | None = None
    driver: str | None = None
    is_integrated: bool = False
    shared_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderDevice:
    """One thing that an installed execution provider computes on, as ONNX Runtime lists it."""

    execution_provider: ExecutionProvider
    device: Device
    vendor: str = ""


class DiskClass(StrEnum):
    """How fast a cold model may come off a disk, by its kind; from fast to slow where that can be said at all."""

    MEMORY = "memory"
    NVME = "nvme"
    SSD = "ssd"
    CARD = "card"
    USB = "usb"
    HDD = "hdd"
    NETWORK = "network"
    FUSE = "fuse"
    VIRTUAL = "virtual"  # the disk of a virtual machine: what is behind it is not told
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Disk:
    """What the folder ``path`` lies on."""

    path: str
    kind: DiskClass
    filesystem: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """``on_battery`` is None where the system does not tell; ``battery_percent`` where there is no battery."""

    on_battery: bool | None = None
    battery_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Probes:
    """Measured once per machine; None where it has not been measured."""

    bandwidth_bytes_per_s: float | None = None
    flops: float | None = None


@dataclass(frozen=True, slots=True)
class Hardware:
    """``disks`` is filled by whoever knows which folders matter."""

    cpu: Cpu
    memory: Memory
    accelerators: tuple[Accelerator, ...] = ()
    execution_providers: tuple[ExecutionProvider, ...] = (ExecutionProvider.CPU,)
    probes: Probes = Probes()
    provider_devices: tuple[ProviderDevice, ...] = ()
    disks: tuple[Disk, ...] = ()
    power: Power = Power()
