"""How much memory there is for models: the host's, bounded by every control group above this process.

Invariant: a control group never makes more memory available than the host has.
"""

from __future__ import annotations

import psutil

from selector.hardware.cgroup import CgroupLimits
from selector.hardware.values import Memory


def host_memory() -> tuple[int, int]:
    """Total and available bytes of the host. psutil does not see control groups."""
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def bounded_memory(total_bytes: int, available_bytes: int, limits: CgroupLimits) -> Memory:
    """The smaller of host and control groups. A limit at or above the host's total is none."""
    limit = limits.memory_limit_bytes
    if limit is None or limit >= total_bytes:
        limit = None
    available = min(available_bytes, total_bytes)
    if limits.memory_available_bytes is not None:
        available = min(available, limits.memory_available_bytes)
    return Memory(total_bytes=total_bytes, available_bytes=max(0, available), limit_bytes=limit)
