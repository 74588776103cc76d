from __future__ import annotations

import logging

import pytest

from daemon.unwritten import Trouble, Unwritten


def test_a_trouble_is_said_once_when_it_begins_and_once_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    times = iter(range(10, 20))
    unwritten = Unwritten(now=lambda: float(next(times)))
    with caplog.at_level(logging.INFO):
        for reason in ("disk is full", "disk is full", "disk is still full"):
            unwritten.failed("the registry", OSError(reason))
        assert unwritten.now() == (Trouble("the registry", "disk is still full", 10.0),)
        for _ in range(3):
            unwritten.worked("the registry")
    assert [record.getMessage().split()[0] for record in caplog.records] == ["unwritten.begun", "unwritten.ended"]
    assert unwritten.now() == ()


def test_a_write_that_is_watched_tells_whether_it_worked() -> None:
    unwritten = Unwritten()
    room: list[int] = []

    def write(amount: int) -> int:
        if not room:
            raise OSError("No space left on device")
        return amount

    watched = unwritten.watching("measurements", write)
    with pytest.raises(OSError, match="No space"):
        watched(3)
    assert [trouble.what for trouble in unwritten.now()] == ["measurements"]
    room.append(1)
    assert watched(3) == 3
    assert unwritten.now() == ()
