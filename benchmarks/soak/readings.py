"""What the daemon of the soak holds, read from outside while it works, and what it leaves behind."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

INTERVAL_S = 1.0
FIFTHS = 5


@dataclass(slots=True)
class Readings:
    """One a second: resident bytes, and open files."""

    resident_bytes: list[int] = field(default_factory=list)
    open_files: list[int] = field(default_factory=list)


def read_until(is_over: threading.Event, pid: int, readings: Readings) -> None:
    process = psutil.Process(pid)
    while not is_over.wait(INTERVAL_S):
        try:
            readings.resident_bytes.append(process.memory_info().rss)
            readings.open_files.append(process.num_fds())
        except psutil.Error:
            return


def second_and_last_fifth(values: list[int]) -> tuple[float, float]:
    """Their means. The first fifth is for warming up. Raises ValueError for fewer than five values."""
    size = len(values) // FIFTHS
    if size == 0:
        raise ValueError(f"{len(values)} readings are too few for fifths")
    return statistics.mean(values[size : 2 * size]), statistics.mean(values[-size:])


def left_behind(environment: Mapping[str, str]) -> list[str]:
    """Processes that still run with this daemon's home."""
    home = environment["SLMREG_HOME"]
    return [
        f"{process.info['pid']} {process.info['name']}"
        for process in psutil.process_iter(["pid", "name", "environ", "status"])
        if (process.info["environ"] or {}).get("SLMREG_HOME") == home
    ]
