"""The CPU: its name, its instruction sets, and how many cores a thread pool may count on.

Invariant: nothing slow is imported or run unless ``/proc/cpuinfo`` does not answer; py-cpuinfo costs over a second, so
its answer is kept in a file.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class CpuIdentity:
    name: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CoreCounts:
    """``affinity`` is how many logical CPUs this process may run on."""

    physical: int
    logical: int
    affinity: int


def usable_cores(counts: CoreCounts, cpu_quota: float | None) -> int:
    """min(affinity, ceil(quota), physical cores), at least 1.

    Physical, because the int4 and int8 kernels saturate a core's vector units with one thread.
    """
    limits = [counts.affinity, counts.physical]
    if cpu_quota is not None:
        limits.append(math.ceil(cpu_quota))
    return max(1, min(limits))


def count_cores() -> CoreCounts:
    """What the operating system says, with a single core as the answer if it says nothing."""
    logical = psutil.cpu_count(logical=True) or os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    # macOS has no affinity; Windows and Linux do.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return CoreCounts(physical=physical, logical=logical, affinity=affinity)


def parse_proc_cpuinfo(text: str) -> CpuIdentity | None:
    """The first CPU of ``/proc/cpuinfo`` (x86: "flags", Arm: "Features"), None if it names no instruction sets."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip().lower(), value.strip())
    flags = fields.get("flags") or fields.get("features")
    if not flags:
        return None
    name = fields.get("model name") or fields.get("model") or fields.get("hardware") or platform.machine()
    return CpuIdentity(name, tuple(sorted(set(flags.split()))))


def identify_cpu(root: Path, cache_file: Path | None, ask: Callable[[], dict[str, Any]] | None = None) -> CpuIdentity:
    """``/proc/cpuinfo`` under ``root``; else the cached answer of ``ask`` (py-cpuinfo); else ``ask`` itself."""
    try:
        known = parse_proc_cpuinfo((root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        known = None
    if known is not None:
        return known
    key = machine_key()
    cached = _read_cache(cache_file, key)
    if cached is not None:
        return cached
    answer = (ask or ask_cpuinfo)()
    identity = CpuIdentity(
        name=str(answer.get("brand_raw") or platform.machine() or "unknown"),
        flags=tuple(sorted(str(flag) for flag in answer.get("flags") or ())),
    )
    _write_cache(cache_file, key, identity)
    return identity


def ask_cpuinfo() -> dict[str, Any]:
    """py-cpuinfo's answer; it starts child processes and takes over a second."""
    import cpuinfo

    answer: dict[str, Any] = cpuinfo.get_cpu_info()
    return answer


def machine_key() -> str:
    """Changes with the machine, its CPU count or its kernel. ``platform.processor`` would start a child process."""
    return "|".join(
        (platform.node(), platform.system(), platform.machine(), platform.release(), str(os.cpu_count() or 0))
    )


def _read_cache(cache_file: Path | None, key: str) -> CpuIdentity | None:
    """None for a cache that is missing, unreadable or of another machine."""
    if cache_file is None:
        return None
    try:
        cached = json.loads(cache_file.read_text(encoding="utf-8"))["cpu"]
        if cached["key"] != key:
            return None
        return CpuIdentity(str(cached["name"]), tuple(str(flag) for flag in cached["flags"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(cache_file: Path | None, key: str, identity: CpuIdentity) -> None:
    """Whole or not at all; a cache that cannot be written only costs the next start a second."""
    if cache_file is None:
        return
    content = {"cpu": {"key": key, "name": identity.name, "flags": list(identity.flags)}}
    partial = cache_file.with_name(f"{cache_file.name}.{os.getpid()}.tmp")
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(cache_file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
