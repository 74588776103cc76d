"""How much memory there is for models: the host's, bounded by every control group above this process.

Invariant: a control group never makes more memory available than the host has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from selector.hardware.cgroup import CgroupLimits
from selector.hardware.files import count, read_text
from selector.hardware.values import Memory


@dataclass(frozen=True, slots=True)
class Swap:
    total_bytes: int
    free_bytes: int


def host_memory() -> tuple[int, int]:
    """Total and available bytes of the host. psutil does not see control groups."""
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def linux_swap(root: Path) -> Swap | None:
    """From ``proc/meminfo`` under ``root``, which counts in kibibytes; None where it does not say."""
    fields: dict[str, int] = {}
    for line in read_text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        kibibytes = count(value.removesuffix("kB").strip())
        if name in ("SwapTotal", "SwapFree") and kibibytes is not None:
            fields[name] = kibibytes * 1024
    return Swap(fields["SwapTotal"], fields["SwapFree"]) if len(fields) == 2 else None


def portable_swap() -> Swap:
    """What psutil says."""
    swap = psutil.swap_memory()
    return Swap(int(swap.total), int(swap.free))


def bounded_memory(total_bytes: int, available_bytes: int, limits: CgroupLimits, swap: Swap | None = None) -> Memory:
    """The smaller of host and control groups. A limit at or above the host's total is none."""
    limit = limits.memory_limit_bytes
    if limit is None or limit >= total_bytes:
        limit = None
    available = min(available_bytes, total_bytes)
    if limits.memory_available_bytes is not None:
        available = min(available, limits.memory_available_bytes)
    return Memory(
        total_bytes=total_bytes,
        available_bytes=max(0, available),
        limit_bytes=limit,
        swap_total_bytes=swap.total_bytes if swap else None,
        swap_free_bytes=swap.free_bytes if swap else None,
    )
