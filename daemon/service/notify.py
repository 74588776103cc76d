"""What the daemon tells the service manager that started it: systemd's notify and watchdog protocol (man sd_notify).

Invariant: without a service manager nothing is sent, and whatever goes wrong in sending never disturbs the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Self

# While it starts or stops, so often it asks for so much more time.
PATIENCE_INTERVAL_S = 5.0
PATIENCE_S = 30.0
# As man sd_watchdog_enabled recommends, and once more to spare.
PINGS_PER_TIMEOUT = 3


@dataclass(frozen=True, slots=True)
class Supervisor:
    """``notify_socket`` is a path, or "@" and an abstract name; after ``watchdog_s`` of silence we count as hung."""

    notify_socket: str | None = None
    watchdog_s: float | None = None

    @classmethod
    def take_from(cls, environment: MutableMapping[str, str], pid: int) -> Self:
        """What is said to process ``pid`` there, and removed: it is for this process, not for its workers."""
        notify_socket = environment.pop("NOTIFY_SOCKET", None)
        timeout_us, meant = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", str(pid))
        watches = timeout_us.isdecimal() and int(timeout_us) > 0 and meant == str(pid)
        return cls(notify_socket or None, int(timeout_us) / 1e6 if watches else None)

    def tell(self, **fields: str | int) -> None:
        """As one datagram of NAME=value lines."""
        if self.notify_socket is None or not hasattr(socket, "AF_UNIX"):
            return
        address = "\0" + self.notify_socket[1:] if self.notify_socket.startswith("@") else self.notify_socket
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a manager that does not read must not hold up answers
            sender.sendto(message.encode(), address)

    def reload_with(self, reload: Callable[[], object]) -> None:
        """``reload`` reads the settings anew when the manager asks for it. systemd does so by SIGHUP, not here."""

    async def follow_start(self, ready: Callable[[], Awaitable[object]]) -> None:
        """Until it is cancelled: that it starts, that it is ready as soon as ``ready`` returns, and that it lives.

        It runs on the event loop that answers requests: where that hangs, the pings stop.
        """
        starting = asyncio.ensure_future(ready())
        try:
            while not starting.done():
                self._patience("Looking for models")
                await asyncio.wait({starting}, timeout=PATIENCE_INTERVAL_S)
        finally:
            starting.cancel()
        self.tell(READY=1, STATUS="Ready")
        while self.watchdog_s is not None:
            self.tell(WATCHDOG=1)
            await asyncio.sleep(self.watchdog_s / PINGS_PER_TIMEOUT)

    async def follow_stop(self) -> None:
        """Until it is cancelled: that it stops, and still lives while answers finish."""
        self.tell(STOPPING=1)
        while True:
            self._patience("Finishing answers")
            await asyncio.sleep(min(PATIENCE_INTERVAL_S, (self.watchdog_s or PATIENCE_INTERVAL_S) / PINGS_PER_TIMEOUT))

    def _patience(self, status: str) -> None:
        self.tell(STATUS=status, WATCHDOG=1, EXTEND_TIMEOUT_USEC=round(PATIENCE_S * 1e6))
