"""How eagerly this process competes with the others of the machine."""

from __future__ import annotations

import contextlib
import sys

import psutil

_NICE = 15  # of 19: behind everything that somebody waits for


def step_back() -> None:
    """Let every other process have processor and disk first, for the rest of this one's life; as far as is allowed."""
    process = psutil.Process()
    with contextlib.suppress(psutil.Error, OSError):
        if sys.platform == "win32":
            process.nice(psutil.IDLE_PRIORITY_CLASS)
            process.ionice(psutil.IOPRIO_VERYLOW)
        else:
            process.nice(max(_NICE, process.nice()))
        if sys.platform == "linux":
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
