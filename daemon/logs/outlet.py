"""``Outlet``: one place where lines go, written by a thread of its own.

Invariants: whoever logs never waits for a disk or a terminal, and never hears of their failures; what waits to be
written is bounded, and every line that is lost is counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from daemon.logs.line import Line

# Some thousand lines: more than comes in the seconds that a disk may hang.
MAX_WAITING_CHARACTERS = 1024 * 1024
CLOSE_TIMEOUT_S = 2.0


class Outlet:
    """``write`` takes a batch of lines, and may raise whatever it likes.

    ``on_trouble`` gets the first failure, ``on_relief`` the number of lines lost by the time that it works again; both
    are called on the thread of the outlet.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Line]], None],
        *,
        on_trouble: Callable[[Exception], None] = lambda _error: None,
        on_relief: Callable[[int], None] = lambda _dropped: None,
        max_waiting_characters: int = MAX_WAITING_CHARACTERS,
    ) -> None:
        self._write = write
        self._on_trouble = on_trouble
        self._on_relief = on_relief
        self._max_waiting = max_waiting_characters
        self._news = threading.Condition()
        self._lines: deque[Line] = deque()
        self._waiting = 0
        self._dropped = 0
        self._is_failing = False
        self._is_closed = False
        self.name = name
        # daemon: a terminal that takes nothing must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"log-{name}", daemon=True)

    @property
    def dropped(self) -> int:
        """Lines that were lost so far."""
        return self._dropped

    def start(self) -> None:
        self._thread.start()

    def put(self, line: Line) -> None:
        """Any thread, also inside a signal handler."""
        with self._news:
            if self._waiting + line.size > self._max_waiting:
                self._dropped += 1
                return
            self._waiting += line.size
            self._lines.append(line)
            self._news.notify()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Write what waits, for ``timeout_s`` at most."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while lines := self._next():
            try:
                self._write(lines)
            except Exception as error:  # whatever it is, a log is not worth anything else
                self._lost(len(lines), error)
            else:
                self._recovered()

    def _next(self) -> list[Line]:
        """All lines that wait, after waiting for one; none when it is closed."""
        with self._news:
            self._news.wait_for(lambda: self._lines or self._is_closed)
            lines = list(self._lines)
            self._lines.clear()
            self._waiting = 0
            return lines

    def _lost(self, count: int, error: Exception) -> None:
        with self._news:
            self._dropped += count
        if not self._is_failing:
            self._is_failing = True
            self._on_trouble(error)

    def _recovered(self) -> None:
        if self._is_failing:
            self._is_failing = False
            self._on_relief(self._dropped)
