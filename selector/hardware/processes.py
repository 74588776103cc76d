"""What a process of ours holds, and the most it ever held."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

# Not getrusage: Linux hands the peak of whoever started a process on to it, and that is the daemon.
_PEAK_KB = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 if it is gone or may not be looked at."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def peak_bytes(pid: int, *, proc: Path = Path("/proc")) -> int | None:
    """The most resident memory that one process has held so far; None if it is gone, or on a Mac, which keeps none."""
    try:
        found = _PEAK_KB.search((proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return _peak_on_windows(pid)
    return int(found[1]) * 1024 if found is not None else None


def _peak_on_windows(pid: int) -> int | None:
    try:
        peak: int | None = getattr(psutil.Process(pid).memory_info(), "peak_wset", None)
    except psutil.Error:
        return None
    return peak


def listener_on(port: int) -> str | None:
    """The program that listens on a TCP port, as "name (pid 12)"; None if the system does not tell.

    Of other people's programs most systems tell their administrator only.
    """
    try:
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
                return f"{psutil.Process(each.pid).name()} (pid {each.pid})"
    except (psutil.Error, OSError):
        return None
    return None
