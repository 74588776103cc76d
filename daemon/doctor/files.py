"""The files of this installation: room on their disks, who may read them, and whether their times make sense."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from daemon.doctor.finding import Finding, Level
from selector.footprint import format_bytes

# The registry grows by a few kilobytes per model, and needs its own size again to migrate.
_LITTLE_DISK_BYTES = 1_000_000_000
_NO_DISK_BYTES = 100_000_000
# Clocks of machines that share a disk differ by less.
_AHEAD_S = 300.0
_SHOWN_LINES = 20


def disk_findings(folders: Mapping[str, Path]) -> Iterator[Finding]:
    """``folders`` by what lies in them; one finding for each file system, of which the first folder stands for all."""
    seen: set[int] = set()
    for what, folder in folders.items():
        device = _device(existing(folder))
        if device is None or device not in seen:
            yield disk_finding(what, folder)
        if device is not None:
            seen.add(device)


def disk_finding(what: str, folder: Path) -> Finding:
    """How much room the disk has that ``folder``, which need not be there yet, is on."""
    try:
        free_bytes = shutil.disk_usage(existing(folder)).free
    except OSError as error:
        return Finding(Level.PROBLEM, "disk", f"{folder} cannot be asked for its free space: {error.strerror or error}")
    message = f"{format_bytes(free_bytes)} are free where {what} is ({folder})"
    if free_bytes < _LITTLE_DISK_BYTES:
        level = Level.PROBLEM if free_bytes < _NO_DISK_BYTES else Level.NOTE
        return Finding(level, "disk", message, f"Make room: a full disk keeps {what} from being written.")
    return Finding(Level.OK, "disk", message)


def existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)


def _device(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def writable_findings(folders: Iterable[Path]) -> Iterator[Finding]:
    """Of those that have to be written to."""
    for folder in dict.fromkeys(folders):
        there = existing(folder)
        if not os.access(there, os.W_OK | os.X_OK):
            yield Finding(
                Level.PROBLEM,
                "home",
                f"{there} is not writable, so nothing can be kept in {folder}",
                "Make it writable for you, or set SLMREG_HOME to a folder that is.",
            )


def permission_findings(files: Iterable[Path]) -> Iterator[Finding]:
    """``files`` hold prompts, keys or what somebody has: nobody else may read them. Windows protects the profile."""
    if os.name == "nt":
        return
    open_to_others = [str(file) for file in files if _mode(file) & (stat.S_IRWXG | stat.S_IRWXO)]
    if open_to_others:
        yield Finding(
            Level.PROBLEM,
            "permissions",
            "others on this machine can read what only you should",
            f"chmod go= {' '.join(open_to_others)}",
            tuple(open_to_others),
        )


def _mode(file: Path) -> int:
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0


def clock_findings(files: Iterable[Path], now_s: float) -> Iterator[Finding]:
    """``files`` that were changed after ``now_s`` (Unix time) tell of a clock that was set back, or was wrong then."""
    ahead = {file: time_s for file in files if (time_s := _changed_s(file)) > now_s + _AHEAD_S}
    if ahead:
        latest = datetime.fromtimestamp(min(max(ahead.values()), 2.0**35), UTC)
        now = datetime.fromtimestamp(now_s, UTC)
        yield Finding(
            Level.NOTE,
            "clock",
            f"{len(ahead)} files were changed after now ({now:%Y-%m-%d %H:%M} UTC), the last in {latest:%Y-%m-%d}",
            "Set the clock, or `touch` them: what is known by their times may not be noticed when they change.",
            tuple(map(str, list(ahead)[:_SHOWN_LINES])),
        )


def _changed_s(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
