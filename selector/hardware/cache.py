"""What is slow to find out about a machine, in one JSON file: for as long as it is the same machine, and a day at most.

Invariant: a cache that is missing, damaged, of another machine or not writable costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Long enough that nobody waits twice, short enough that a new driver or an external GPU is seen without being told.
MAX_AGE_S = 86_400.0
MOST_BYTES = 4 * 1024 * 1024


def machine_key() -> str:
    """Changes with the machine, its CPU count or its kernel. ``platform.processor`` would start a child process."""
    return "|".join(
        (platform.node(), platform.system(), platform.machine(), platform.release(), str(os.cpu_count() or 0))
    )


class HardwareCache:
    """Named JSON values. ``file`` None: nothing is kept. Read afresh at each look: other processes write it too."""

    def __init__(
        self, file: Path | None, *, machine: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._machine = machine if machine is not None else machine_key()
        self._clock = clock

    def find(self, name: str, *, max_age_s: float = MAX_AGE_S) -> Any | None:
        """What was kept under ``name`` on this machine at most ``max_age_s`` ago, or None."""
        entry = self._entries().get(name)
        if not isinstance(entry, dict) or not isinstance(entry.get("at"), int | float):
            return None
        age_s = self._clock() - entry["at"]
        # A clock that was set back makes an entry of the future: as good as none.
        return entry.get("value") if 0 <= age_s <= max_age_s else None

    def keep(self, name: str, value: Any) -> None:
        """Written whole or not at all. Two writers at once: the later one wins, the other is asked again some day."""
        if self._file is None:
            return
        entries = {**self._entries(), name: {"at": self._clock(), "value": value}}
        partial = self._file.with_name(f"{self._file.name}.{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(json.dumps({"machine": self._machine, "entries": entries}), encoding="utf-8")
            partial.replace(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()

    def stamp(self) -> tuple[int, int] | None:
        """Differs after each change of the file, whoever made it."""
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _entries(self) -> dict[str, Any]:
        if self._file is None:
            return {}
        try:
            with self._file.open("rb") as opened:
                content = json.loads(opened.read(MOST_BYTES))
            if content["machine"] != self._machine or not isinstance(content["entries"], dict):
                return {}
            return dict(content["entries"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}
