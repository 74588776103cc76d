from __future__ import annotations

import threading

import pytest

from daemon.service.controls import FIRST_REPORT_S, Control, ControlManager, HostedService, Status
from daemon.service.notify import PATIENCE_S
from registry.errors import SettingsError


class Manager:
    """The manager's side of one service that it has started: what was reported, and how often a stop was passed on."""

    def __init__(self) -> None:
        self.reports: list[tuple[Status, float]] = []
        self.stops = 0
        self.service = HostedService(stop=self._stop)
        self.exit_codes: list[int] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.service.wait_for_start(10)

    def _run(self) -> None:
        self.exit_codes.append(self.service.run(lambda status, within_s: self.reports.append((status, within_s))))

    def _stop(self) -> None:
        self.stops += 1

    def end(self, exit_code: int = 0) -> int:
        self.service.end(exit_code)
        self.thread.join(10)
        return self.exit_codes[0]


def test_it_is_starting_until_the_daemon_says_that_it_is_ready() -> None:
    manager = Manager()
    daemon = ControlManager(service=manager.service)
    daemon.tell(STATUS="Looking for models", WATCHDOG=1, EXTEND_TIMEOUT_USEC=30_000_000)
    daemon.tell(READY=1, STATUS="Ready")
    daemon.tell(WATCHDOG=1)  # systemd's alone
    assert manager.end() == 0
    starting = Status.START_PENDING
    assert manager.reports == [(starting, FIRST_REPORT_S), (starting, PATIENCE_S), (Status.RUNNING, 0.0)]


@pytest.mark.parametrize("control", [Control.STOP, Control.SHUTDOWN, Control.PRESHUTDOWN])
def test_a_stop_is_passed_on_once_and_takes_the_time_that_answers_take(control: Control) -> None:
    manager = Manager()
    daemon = ControlManager(service=manager.service)
    daemon.tell(READY=1)
    for each in (control, control, Control.STOP):
        manager.service.control(each)
    daemon.tell(STOPPING=1)
    daemon.tell(EXTEND_TIMEOUT_USEC=30_000_000)
    daemon.tell(READY=1)  # it was about to say so
    manager.end()
    assert manager.stops == 1
    assert manager.reports[-2:] == [(Status.STOP_PENDING, PATIENCE_S)] * 2
    assert (Status.RUNNING, 0.0) not in manager.reports[2:]


def test_a_daemon_that_ends_by_itself_is_stopping_too() -> None:
    manager = Manager()
    ControlManager(service=manager.service).tell(STOPPING=1)
    assert manager.end(3) == 3
    assert (manager.reports[-1], manager.stops) == ((Status.STOP_PENDING, PATIENCE_S), 0)


def test_changed_parameters_have_the_settings_read_and_wrong_ones_change_nothing() -> None:
    manager, read = Manager(), threading.Event()

    def reload() -> None:
        read.set()
        raise SettingsError("config.toml: port = 'x' is not usable")

    manager.service.control(Control.PARAMCHANGE)  # too early: nobody has said yet how
    ControlManager(service=manager.service).reload_with(reload)
    manager.service.control(Control.PARAMCHANGE)
    assert read.wait(10)
    manager.end()


def test_whoever_asks_is_told_what_it_is_doing() -> None:
    manager = Manager()
    manager.service.control(Control.INTERROGATE)
    manager.end()
    assert [status for status, _ in manager.reports] == [Status.START_PENDING] * 2
