"""``LastWords``: what a worker process says on its standard error, line by line into the daemon's log.

Invariant: a process that says too much costs the event loop only so many lines a second; the rest are counted, and the
last ones kept all the same.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger("slmreg.worker")

LINES_KEPT = 20
MAX_LINE_BYTES = 4096
MAX_LINES_PER_S = 100

# Our own worker (see its main), and onnxruntime, which begins with the time: [W:onnxruntime:, file.cc:1 Function].
_OURS = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) slmreg[\w.]*: (.*)", re.DOTALL)
_ONNXRUNTIME = re.compile(r"\[([VIWEF]):onnxruntime")
_SEVERITIES = {
    "V": logging.DEBUG,
    "I": logging.DEBUG,
    "W": logging.WARNING,
    "E": logging.ERROR,
    "F": logging.CRITICAL,
}


class LastWords:
    """``model_id`` is set once the process has been told what to load."""

    def __init__(self, pid: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.model_id = "-"
        self._pid = pid
        self._clock = clock
        self._kept: deque[str] = deque(maxlen=LINES_KEPT)
        self._pending = b""
        self._second = 0
        self._told = 0
        self._untold = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """The last ones, without what says where they came from."""
        return tuple(self._kept)

    def feed(self, data: bytes) -> None:
        """What was read; a line may come in several pieces."""
        *whole, self._pending = (self._pending + data).split(b"\n")
        if len(self._pending) > MAX_LINE_BYTES:
            whole.append(self._pending)
            self._pending = b""
        for line in whole:
            self._take(line)

    def end(self) -> None:
        """Nothing more comes."""
        self._take(self._pending)
        self._pending = b""
        self._tell_of_untold()

    def _take(self, data: bytes) -> None:
        text = data[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip()
        if not text:
            return
        self._kept.append(text)
        if int(self._clock()) != self._second:
            self._tell_of_untold()
            self._second, self._told = int(self._clock()), 0
        if self._told >= MAX_LINES_PER_S:
            self._untold += 1
            return
        self._told += 1
        level, said = _read(text)
        log.log(level, "worker.stderr model=%s pid=%d line=%r", self.model_id, self._pid, said)

    def _tell_of_untold(self) -> None:
        if self._untold:
            log.warning("worker.stderr_dropped model=%s pid=%d lines=%d", self.model_id, self._pid, self._untold)
            self._untold = 0


def _read(text: str) -> tuple[int, str]:
    """How severe a line is, and what it says."""
    ours = _OURS.fullmatch(text)
    if ours is not None:
        return logging.getLevelNamesMapping()[ours[1]], ours[2]
    native = _ONNXRUNTIME.search(text)
    return (_SEVERITIES[native[1]] if native is not None else logging.INFO), text
