"""What a process of ours holds."""

from __future__ import annotations

import psutil


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 if it is gone or may not be looked at."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
