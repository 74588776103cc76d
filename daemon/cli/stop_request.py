"""Being asked to stop before there is a server that could be."""

from __future__ import annotations

import signal
from typing import Self


class StopRequest:
    """SIGINT and SIGTERM from the moment that ``serve`` begins: whatever it is doing then, it ends with exit code 0.

    Nothing is raised from the signal: what is half made, a library that is being imported among it, is made first.
    """

    def __init__(self) -> None:
        self.is_asked = False

    @classmethod
    def listen(cls) -> Self:
        """Main thread only."""
        stop = cls()
        for stop_signal in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop_signal, stop._ask)
        return stop

    def _ask(self, *_: object) -> None:
        self.is_asked = True
