"""The frozen description of a machine at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from registry.model import Device, ExecutionProvider


@dataclass(frozen=True, slots=True)
class Cpu:
    """``usable_cores`` counts affinity, cgroup quota and physical cores: what a thread pool should be sized by."""

    name: str
    physical_cores: int
    logical_cores: int
    usable_cores: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """``available_bytes`` already respects ``limit_bytes``, the smallest cgroup limit above this process, or None."""

    total_bytes: int
    available_bytes: int
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU or NPU. ``usable`` if an execution provider of this installation can drive it; else ``reason`` says why.

    ``execution_providers`` are the installed ones that can. Memory is None where it is unknown or the machine's RAM.
    """

    name: str
    device: Device
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    usable: bool = False
    reason: str | None = None
    execution_providers: tuple[ExecutionProvider, ...] = ()


@dataclass(frozen=True, slots=True)
class Probes:
    """Measured once per machine; None where it has not been measured."""

    bandwidth_bytes_per_s: float | None = None
    flops: float | None = None


@dataclass(frozen=True, slots=True)
class Hardware:
    cpu: Cpu
    memory: Memory
    accelerators: tuple[Accelerator, ...] = ()
    execution_providers: tuple[ExecutionProvider, ...] = (ExecutionProvider.CPU,)
    probes: Probes = Probes()
