"""A service of Windows' service control manager: what it reports, and what it does when it is told something.

The manager's own thread (``run``), the one that it calls controls on, and the event loop of the daemon meet here.
Invariant: the status only goes forward, and the daemon is asked to stop once, however often the manager says so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from daemon.service.notify import PATIENCE_S, Supervisor
from registry.errors import SettingsError

# Until the daemon itself asks for more time: Python's imports, on a disk that nothing has been read from yet.
FIRST_REPORT_S = 120.0


class Status(IntEnum):
    """``dwCurrentState`` of SERVICE_STATUS, in the order in which a service goes through it."""

    START_PENDING = 2
    RUNNING = 4
    STOP_PENDING = 3


class Control(IntEnum):
    """Of those that the manager knows, the ones that do something here."""

    STOP = 1
    INTERROGATE = 4
    SHUTDOWN = 5
    PARAMCHANGE = 6
    PRESHUTDOWN = 15


_ORDER = tuple(Status)
_STOPS = frozenset({Control.STOP, Control.SHUTDOWN, Control.PRESHUTDOWN})

# The status, and within how many seconds the next report comes at the latest; 0 where none is due.
Report = Callable[[Status, float], object]


class HostedService:
    """One service, from its start until it has ended. ``stop`` asks the daemon to end, from any thread."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._reload: Callable[[], object] = lambda: None
        self._report: Report = lambda status, within_s: None
        self._status = Status.START_PENDING
        self._lock = threading.Lock()
        self._has_started, self._has_ended = threading.Event(), threading.Event()
        self._exit_code = 0

    def run(self, report: Report) -> int:
        """On the manager's thread: returns, when the daemon has ended, with what exit code."""
        with self._lock:
            self._report = report
            report(self._status, FIRST_REPORT_S)
        self._has_started.set()
        self._has_ended.wait()
        return self._exit_code

    def wait_for_start(self, timeout_s: float) -> bool:
        """Whether the manager has called ``run``."""
        return self._has_started.wait(timeout_s)

    def end(self, exit_code: int) -> None:
        """The daemon has ended."""
        self._exit_code = exit_code
        self._has_ended.set()

    def reload_with(self, reload: Callable[[], object]) -> None:
        """From now on: ``reload`` is what a changed parameter causes, in a thread, since the manager does not wait."""
        self._reload = reload

    def advance(self, status: Status) -> bool:
        """Report it; False, and nothing is done, where the service has come that far already."""
        with self._lock:
            if _ORDER.index(status) <= _ORDER.index(self._status):
                return False
            self._status = status
            self._report_again()
        return True

    def live_on(self) -> None:
        """Report that what it is doing goes on."""
        with self._lock:
            self._report_again()

    def _report_again(self) -> None:
        self._report(self._status, 0.0 if self._status is Status.RUNNING else PATIENCE_S)

    def control(self, code: int) -> None:
        """What the manager says. It returns at once."""
        if code in _STOPS:
            if self.advance(Status.STOP_PENDING):
                self._stop()
        elif code == Control.PARAMCHANGE:
            threading.Thread(target=self._read_settings, name="settings").start()
        else:
            self.live_on()

    def _read_settings(self) -> None:
        with contextlib.suppress(SettingsError):  # the log says it, and the old settings stay
            self._reload()


@dataclass(frozen=True, slots=True)
class ControlManager(Supervisor):
    """What the daemon tells systemd about itself, told to Windows' service control manager: its words fit."""

    service: HostedService = field(kw_only=True)

    def tell(self, **fields: str | int) -> None:
        if "READY" in fields:
            self.service.advance(Status.RUNNING)
        elif "STOPPING" in fields:
            self.service.advance(Status.STOP_PENDING)
        elif "EXTEND_TIMEOUT_USEC" in fields:
            self.service.live_on()

    def reload_with(self, reload: Callable[[], object]) -> None:
        self.service.reload_with(reload)
