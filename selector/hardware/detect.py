"""One snapshot of the machine, and the cheap refresh of the parts of it that change.

Invariant: no reader's failure reaches the caller; what cannot be read is replaced by a cautious answer.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from registry.model import ExecutionProvider
from selector.hardware.accelerators import find_accelerators
from selector.hardware.cache import HardwareCache
from selector.hardware.cgroup import CgroupLimits, cgroup_limits
from selector.hardware.cores import (
    CoreCounts,
    affinity,
    linux_cores,
    mac_cores,
    parse_sysctl,
    portable_cores,
    usable_cores,
    windows_cores,
)
from selector.hardware.cpu import (
    CpuIdentity,
    ask_cpuinfo,
    cached_identity,
    kernels,
    linux_identity,
    mac_identity,
    with_windows_features,
)
from selector.hardware.disks import linux_disks, mac_disks, portable_mounts, windows_disks
from selector.hardware.memory import Swap, bounded_memory, host_memory, linux_swap, portable_swap
from selector.hardware.power import linux_power, portable_power
from selector.hardware.probes import known_probes
from selector.hardware.queries import Query, remembering, run_query
from selector.hardware.values import Accelerator, Cpu, Disk, DiskClass, Hardware, Memory, Power, ProviderDevice
from selector.hardware.windows_api import core_records, has_feature

log = logging.getLogger("slmreg.hardware")

GIB = 1024**3
# What is taken for granted on a machine that does not say: enough for a small model, on one thread.
UNREAD_MEMORY = (2 * GIB, 1 * GIB)
UNREAD_CORES = CoreCounts(physical=1, logical=1, affinity=1)
UNREAD_CPU = CpuIdentity("unknown", ())

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Readers:
    """Where the facts come from. ``root`` is the file system with ``proc`` and ``sys``; tests pass recorded ones.

    ``system`` is that of ``sys.platform``; each field below is asked on the systems that have what it tells.
    """

    root: Path = Path("/")
    system: str = sys.platform
    query: Query = run_query
    memory: Callable[[], tuple[int, int]] = host_memory
    swap: Callable[[], Swap] = portable_swap
    affinity: Callable[[], frozenset[int] | None] = affinity
    portable_cores: Callable[[], CoreCounts] = portable_cores
    cpuinfo: Callable[[], dict[str, Any]] = ask_cpuinfo
    power: Callable[[], Power] = portable_power
    mounts: Callable[[], list[tuple[str, str, str]]] = portable_mounts
    core_records: Callable[[], bytes] = core_records
    has_feature: Callable[[int], bool] = has_feature


@dataclass(frozen=True, slots=True)
class Installation:
    """What the installed onnxruntime can run on, as ``daemon.worker.providers`` finds out."""

    execution_providers: tuple[ExecutionProvider, ...] = (ExecutionProvider.CPU,)
    devices: tuple[ProviderDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Detector:
    """Describes the machine that ``readers`` see. Never raises; what is slow to find out is kept in ``cache``."""

    cache: HardwareCache = field(default_factory=lambda: HardwareCache(None))
    readers: Readers = Readers()

    def detect(self, installation: Installation = Installation()) -> Hardware:
        """The machine as this process may use it: milliseconds on Linux, a second or two once elsewhere."""
        sysctl = self._sysctl()
        return Hardware(
            cpu=(described := self._cpu(sysctl)),
            memory=self._memory(),
            accelerators=self._accelerators(installation, sysctl),
            execution_providers=installation.execution_providers,
            probes=known_probes(self.cache, described),
            provider_devices=installation.devices,
            power=self._power(),
        )

    def refresh_memory(self, hardware: Hardware) -> Hardware:
        """The same machine with its memory read again; well under a millisecond."""
        return replace(hardware, memory=self._memory())

    def refresh_probes(self, hardware: Hardware) -> Hardware:
        """The same machine with what has been measured of it by now."""
        return replace(hardware, probes=known_probes(self.cache, hardware.cpu))

    def refresh_devices(self, hardware: Hardware) -> Hardware:
        """The same machine with its accelerators' memory and its power read again; up to seconds."""
        installation = Installation(hardware.execution_providers, hardware.provider_devices)
        return replace(hardware, accelerators=self._accelerators(installation, self._sysctl()), power=self._power())

    def disks(self, paths: Iterable[Path]) -> tuple[Disk, ...]:
        """What each of ``paths`` lies on, in their order. Slow once on macOS and Windows."""
        asked = tuple(paths)
        resolved = tuple(_attempt("path", path.resolve, path) for path in asked)
        query, system = remembering(self.readers.query, self.cache), self.readers.system
        unknown = tuple(Disk(str(path), DiskClass.UNKNOWN) for path in asked)
        if system == "darwin":
            found = _attempt("disks", lambda: mac_disks(resolved, self.readers.mounts(), query), unknown)
        elif system == "win32":
            found = _attempt("disks", lambda: windows_disks(resolved, query), unknown)
        else:
            found = _attempt("disks", lambda: linux_disks(resolved, self.readers.root), unknown)
        return tuple(replace(disk, path=str(path)) for disk, path in zip(found, asked, strict=True))

    def _sysctl(self) -> Mapping[str, str]:
        if self.readers.system != "darwin":
            return {}
        return _attempt("sysctl", self._ask_sysctl, {})

    def _ask_sysctl(self) -> dict[str, str]:
        answers = (self.readers.query(("sysctl", tree)) or "" for tree in ("hw", "machdep.cpu"))
        return parse_sysctl("\n".join(answers))

    def _cpu(self, sysctl: Mapping[str, str]) -> Cpu:
        identity = _attempt("cpu", lambda: self._identity(sysctl), UNREAD_CPU)
        counts = _attempt("cores", lambda: self._cores(sysctl), UNREAD_CORES)
        return Cpu(
            name=identity.name,
            physical_cores=counts.physical,
            logical_cores=counts.logical,
            usable_cores=usable_cores(counts, self._limits().cpu_quota),
            flags=identity.flags,
            kernels=kernels(identity.flags),
            performance_cores=counts.performance,
            efficiency_cores=counts.efficiency,
        )

    def _identity(self, sysctl: Mapping[str, str]) -> CpuIdentity:
        system, readers = self.readers.system, self.readers
        known = mac_identity(sysctl) if system == "darwin" else None
        if system not in ("darwin", "win32"):
            known = linux_identity(readers.root)
        known = known or cached_identity(self.cache, readers.cpuinfo)
        return with_windows_features(known, readers.has_feature) if system == "win32" else known

    def _cores(self, sysctl: Mapping[str, str]) -> CoreCounts:
        readers, found = self.readers, None
        if readers.system == "darwin":
            found = mac_cores(sysctl)
        elif readers.system == "win32":
            found = windows_cores(readers.core_records(), readers.affinity())
        elif (allowed := readers.affinity()) is not None:
            found = linux_cores(readers.root, allowed)
        return found or readers.portable_cores()

    def _memory(self) -> Memory:
        total, available = _attempt("memory", self.readers.memory, UNREAD_MEMORY)
        return bounded_memory(total, available, self._limits(), _attempt("swap", self._swap, None))

    def _swap(self) -> Swap | None:
        is_portable = self.readers.system in ("darwin", "win32")
        return self.readers.swap() if is_portable else linux_swap(self.readers.root)

    def _limits(self) -> CgroupLimits:
        return _attempt("cgroup", lambda: cgroup_limits(self.readers.root), CgroupLimits())

    def _power(self) -> Power:
        is_portable = self.readers.system in ("darwin", "win32")
        read = self.readers.power if is_portable else lambda: linux_power(self.readers.root)
        return _attempt("power", read, Power())

    def _accelerators(self, installation: Installation, sysctl: Mapping[str, str]) -> tuple[Accelerator, ...]:
        readers = self.readers
        return _attempt(
            "accelerators",
            lambda: find_accelerators(
                installation.execution_providers,
                root=readers.root,
                query=remembering(readers.query, self.cache),
                system=readers.system,
                sysctl=sysctl,
            ),
            (),
        )


def detect_hardware() -> Hardware:
    """This machine, with nothing kept from one call to the next and only the CPU's provider."""
    return Detector().detect()


def _attempt(what: str, read: Callable[[], T], otherwise: T) -> T:
    """``read()``, or ``otherwise`` if it fails in any way: drivers, sandboxes and odd kernels fail in every way."""
    try:
        return read()
    except Exception as error:
        log.warning("hardware.unreadable what=%s error=%r", what, error)
        return otherwise
