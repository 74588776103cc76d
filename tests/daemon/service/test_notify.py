from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.service import activation
from daemon.service.activation import take_passed_sockets
from daemon.service.notify import Supervisor
from registry.errors import SettingsError
from tests.fakes import on_loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")

PID = 4711


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        yield listener


def test_what_is_for_us_is_taken_so_that_workers_do_not_get_it() -> None:
    environment = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(PID), "PATH": "/bin"}
    assert Supervisor.take_from(environment, PID) == Supervisor("/run/n", 3.0)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
def test_a_watchdog_that_is_not_for_us_or_none_is_left_alone(environment: dict[str, str]) -> None:
    assert Supervisor.take_from(environment, PID).watchdog_s is None


def test_a_message_is_one_datagram_of_lines(listener: socket.socket) -> None:
    Supervisor(listener.getsockname()).tell(READY=1, STATUS="Ready")
    assert listener.recv(100) == b"READY=1\nSTATUS=Ready"


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets")
def test_an_abstract_address_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0slmreg-test-{os.getpid()}")
        Supervisor(f"@slmreg-test-{os.getpid()}").tell(STOPPING=1)
        assert listener.recv(100) == b"STOPPING=1"


def test_nobody_there_or_nobody_reading_disturbs_nothing(listener: socket.socket, tmp_path: Path) -> None:
    Supervisor(None).tell(READY=1)
    Supervisor(str(tmp_path / "gone")).tell(READY=1)
    for _ in range(5000):  # more than any queue takes
        Supervisor(listener.getsockname()).tell(WATCHDOG=1)


@on_loop
async def test_it_is_ready_when_it_can_answer_and_lives_from_then_on(listener: socket.socket) -> None:
    ready = asyncio.Event()
    telling = asyncio.create_task(Supervisor(listener.getsockname(), watchdog_s=0.03).follow_start(ready.wait))
    first = await asyncio.to_thread(listener.recv, 200)
    assert b"EXTEND_TIMEOUT_USEC=" in first
    assert b"READY=1" not in first
    ready.set()
    assert b"READY=1" in await asyncio.to_thread(listener.recv, 200)
    assert [await asyncio.to_thread(listener.recv, 200) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling


@on_loop
async def test_while_it_stops_it_asks_for_time_and_still_lives(listener: socket.socket) -> None:
    telling = asyncio.create_task(Supervisor(listener.getsockname(), watchdog_s=0.03).follow_stop())
    assert await asyncio.to_thread(listener.recv, 200) == b"STOPPING=1"
    for _ in range(2):
        said = await asyncio.to_thread(listener.recv, 200)
        assert b"WATCHDOG=1" in said
        assert b"EXTEND_TIMEOUT_USEC=" in said
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling


def test_sockets_for_another_process_are_not_ours() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "PATH": "/bin"}
    assert take_passed_sockets(environment, PID) == ()
    assert environment == {"PATH": "/bin"}
    assert take_passed_sockets({"LISTEN_PID": str(PID), "LISTEN_FDS": "many"}, PID) == ()


@pytest.mark.parametrize(("kind", "match"), [("unbound", "does not listen"), ("file", "no socket"), ("none", "cannot")])
def test_what_nobody_can_be_accepted_from_is_named(kind: str, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "unbound":
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unbound:
            descriptor = os.dup(unbound.fileno())
    elif kind == "file":
        descriptor = os.open(os.devnull, os.O_RDONLY)
    else:
        descriptor = 99_999
    monkeypatch.setattr(activation, "FIRST_DESCRIPTOR", descriptor)
    with pytest.raises(SettingsError, match=rf"\(web\).*{match}"):
        take_passed_sockets({"LISTEN_PID": str(PID), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}, PID)
    if kind == "file":
        os.close(descriptor)
