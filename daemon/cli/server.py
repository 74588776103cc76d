"""The web server of ``serve``: uvicorn's, which can be asked to stop at any time and reports to who started it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn

from daemon.cli.stop_request import StopRequest
from daemon.service.notify import Supervisor

FORCED_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Life:
    """What the application does about its own end, and when it can answer: ``app.state`` of ``create_app``."""

    begin_stop: Callable[[], None]
    stopped: Callable[[], Awaitable[None]]
    ready: Callable[[], Awaitable[object]]


class DaemonServer(uvicorn.Server):
    """Tells the application at once, and not when the last response is done, that it has to stop."""

    def __init__(self, config: uvicorn.Config, life: Life, stop: StopRequest, supervisor: Supervisor) -> None:
        super().__init__(config)
        self._life = life
        self._stop = stop
        self._supervisor = supervisor
        self._telling: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """With the signals in uvicorn's hands already; one that came before them counts."""
        if self._stop.is_asked:
            self.should_exit = True
        await super().startup(sockets)
        await self._tell(self._supervisor.follow_start(self._life.ready))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._life.begin_stop()
        if self.should_exit:  # the second time: what is cut off now was meant to be, and needs no stack in the log
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            self.force_exit = True  # uvicorn itself does so for Ctrl-C only
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Not before the last answer is done: until then, whoever comes is told that it stops."""
        await self._tell(self._supervisor.follow_stop())
        stopped = asyncio.ensure_future(self._life.stopped())
        while not (stopped.done() or self.force_exit):
            await asyncio.wait({stopped}, timeout=FORCED_POLL_S)
        stopped.cancel()
        await super().shutdown(sockets)
        await self._tell(None)

    async def _tell(self, what: Coroutine[Any, Any, None] | None) -> None:
        """``what`` is told from now on, in place of what was told until now."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
        self._telling = asyncio.create_task(what, name="service") if what is not None else None
