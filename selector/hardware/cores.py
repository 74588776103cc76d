"""How many cores there are, of which kinds, and how many of them this process may run on.

One reader for each system: files on Linux, ``sysctl`` on macOS, one call's answer on Windows, psutil elsewhere.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from selector.hardware.files import count, entries, read_count, read_cpu_list, read_word

# Of a chip with cores of several sizes: those below half the capacity of the largest are the efficient ones. Kernels
# state it for Arm chips, where the small cores reach a quarter to a third, and rate dense x86 cores above 60%.
EFFICIENT_BELOW = 0.5


@dataclass(frozen=True, slots=True)
class CoreCounts:
    """``affinity``: logical CPUs this process may run on; ``allowed``: physical cores these belong to, if known."""

    physical: int
    logical: int
    affinity: int
    allowed: int | None = None
    performance: int | None = None
    efficiency: int | None = None


def usable_cores(counts: CoreCounts, cpu_quota: float | None) -> int:
    """min(affinity, ceil(quota), physical cores among those allowed), at least 1.

    Physical, because the int4 and int8 kernels saturate a core's vector units with one thread.
    """
    limits = [counts.affinity, counts.physical]
    if counts.allowed is not None:
        limits.append(counts.allowed)
    if cpu_quota is not None:
        limits.append(math.ceil(cpu_quota))
    return max(1, min(limits))


def affinity() -> frozenset[int] | None:
    """Logical CPUs this process may run on; None on macOS, which has no such thing."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    process = psutil.Process()
    return frozenset(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else None


def portable_cores() -> CoreCounts:
    """What psutil says, with a single core as the answer if it says nothing."""
    logical = psutil.cpu_count(logical=True) or os.cpu_count() or 1
    allowed = affinity()
    return CoreCounts(
        physical=psutil.cpu_count(logical=False) or logical,
        logical=logical,
        affinity=logical if allowed is None else len(allowed),
    )


def linux_cores(root: Path, allowed: Collection[int]) -> CoreCounts | None:
    """From ``sys/devices/system/cpu`` under ``root``; None where that does not show the topology."""
    cpus = root / "sys/devices/system/cpu"
    core_of: dict[int, str] = {}
    for folder in entries(cpus):
        number = count(folder.name.removeprefix("cpu"))
        core = _core(folder / "topology")
        if number is not None and core:
            core_of[number] = core
    if not core_of:
        return None
    fast, slow = _kinds(root, frozenset(core_of))
    return CoreCounts(
        physical=len(set(core_of.values())),
        logical=len(core_of),
        affinity=len(allowed),
        # A CPU of the affinity that the files do not show counts as a core of its own.
        allowed=len({core_of.get(cpu, str(cpu)) for cpu in allowed}),
        performance=len({core_of[cpu] for cpu in fast}) if fast and slow else None,
        efficiency=len({core_of[cpu] for cpu in slow}) if fast and slow else None,
    )


def core_groups(usable: int, root: Path = Path("/")) -> tuple[tuple[int, ...], ...]:
    """The logical CPUs of each physical core that this process may run on.

    () where that is not known, or a quota leaves less than these cores: which of them are free is then not ours to say.
    """
    allowed = affinity()
    groups = linux_core_groups(root, allowed) if allowed is not None else ()
    return groups if len(groups) == usable else ()


def linux_core_groups(root: Path, allowed: Collection[int]) -> tuple[tuple[int, ...], ...]:
    """The logical CPUs of each physical core that this process may run on, in order; () where that is not shown."""
    cpus = root / "sys/devices/system/cpu"
    groups: dict[str, list[int]] = {}
    for cpu in sorted(allowed):
        core = _core(cpus / f"cpu{cpu}" / "topology")
        if not core:
            return ()
        groups.setdefault(core, []).append(cpu)
    return tuple(map(tuple, groups.values()))


def _core(topology: Path) -> str:
    """The same text for all threads of one core: its list of CPUs (the older name of the file last), else its place."""
    siblings = read_word(topology / "core_cpus_list") or read_word(topology / "thread_siblings_list")
    if siblings:
        return siblings
    core = read_word(topology / "core_id")
    return f"package {read_word(topology / 'physical_package_id')} core {core}" if core else ""


def _kinds(root: Path, cpus: Collection[int]) -> tuple[set[int], set[int]]:
    """Performance and efficiency CPUs: Intel's hybrids have a list for each, Arm and AMD state capacities."""
    devices = root / "sys/devices"
    fast = read_cpu_list(devices / "cpu_core/cpus") & set(cpus)
    slow = (read_cpu_list(devices / "cpu_atom/cpus") | read_cpu_list(devices / "cpu_lowpower/cpus")) & set(cpus)
    if fast or slow:
        return set(fast), set(slow)
    stated = {cpu: read_count(devices / f"system/cpu/cpu{cpu}/cpu_capacity") for cpu in cpus}
    capacities = {cpu: capacity for cpu, capacity in stated.items() if capacity is not None}
    most = max(capacities.values(), default=0)
    efficient = {cpu for cpu, capacity in capacities.items() if capacity < EFFICIENT_BELOW * most}
    return set(capacities) - efficient, efficient


def mac_cores(hw: Mapping[str, str]) -> CoreCounts | None:
    """From ``sysctl hw``: performance level 0 is the fastest, the last one the most efficient."""
    physical, logical = count(hw.get("hw.physicalcpu", "")), count(hw.get("hw.logicalcpu", ""))
    if not physical or not logical:
        return None
    counts = CoreCounts(physical=physical, logical=logical, affinity=logical)
    levels = [count(hw.get(f"hw.perflevel{level}.physicalcpu", "")) for level in range(2)]
    if None in levels:
        return counts
    return replace(counts, performance=levels[0], efficiency=levels[1])


def parse_sysctl(text: str) -> dict[str, str]:
    """``name: value`` lines."""
    return dict(re.findall(r"^([\w.]+): ?(.*?)\s*$", text, re.MULTILINE))


# RelationProcessorCore; then LTP_PC_SMT in the flags of a core with several threads, which is not needed here.
_CORE_RECORD = 0
_HEADER = struct.Struct("<II")  # relationship, size of the whole record in bytes
_CORE = struct.Struct("<BB20xH")  # flags, efficiency class (higher is faster), reserved, number of group masks
_GROUP_MASK = struct.Struct("<QH6x")  # CPUs of one group of at most 64, the group


def windows_cores(records: bytes, allowed: Collection[int] | None) -> CoreCounts | None:
    """From what GetLogicalProcessorInformationEx fills in for RelationProcessorCore on 64-bit Windows."""
    cores: list[tuple[int, frozenset[int]]] = []
    offset = 0
    while offset + _HEADER.size <= len(records):
        relationship, size = _HEADER.unpack_from(records, offset)
        if size < _HEADER.size or offset + size > len(records):
            return None
        if relationship == _CORE_RECORD:
            try:
                cores.append(_windows_core(records[offset + _HEADER.size : offset + size]))
            except struct.error:  # shorter than it says
                return None
        offset += size
    if not cores:
        return None
    logical = sum(len(cpus) for _, cpus in cores)
    classes = [efficiency for efficiency, _ in cores]
    fast = sum(efficiency == max(classes) for efficiency in classes)
    is_mixed = fast < len(cores)
    return CoreCounts(
        physical=len(cores),
        logical=logical,
        affinity=logical if allowed is None else len(allowed),
        allowed=None if allowed is None else sum(not cpus.isdisjoint(allowed) for _, cpus in cores),
        performance=fast if is_mixed else None,
        efficiency=len(cores) - fast if is_mixed else None,
    )


def _windows_core(record: bytes) -> tuple[int, frozenset[int]]:
    """Efficiency class and CPUs of one core; those of group g are numbered from 64 g on, as psutil does."""
    _, efficiency, groups = _CORE.unpack_from(record)
    cpus: set[int] = set()
    for index in range(groups):
        mask, group = _GROUP_MASK.unpack_from(record, _CORE.size + index * _GROUP_MASK.size)
        cpus.update(64 * group + bit for bit in range(64) if mask >> bit & 1)
    return efficiency, frozenset(cpus)
