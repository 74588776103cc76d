from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from daemon.api.outbox import Outbox
from tests.fakes import on_loop


async def given(frames: Sequence[bytes], go_on: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """The first one, and when ``go_on`` is set the others in one go."""
    for number, frame in enumerate(frames):
        if number == 1 and go_on is not None:
            await go_on.wait()
        yield frame


@on_loop
async def test_what_is_made_one_by_one_goes_one_by_one_and_what_is_made_at_once_goes_together() -> None:
    outbox, go_on = Outbox(), asyncio.Event()
    filling = asyncio.create_task(outbox.fill(given([b"a", b"b", b"c"], go_on)))
    assert await outbox.take() == (b"a", False)
    go_on.set()
    assert await outbox.take() == (b"bc", True)
    await filling


@on_loop
async def test_no_more_is_made_in_advance_of_a_slow_client_than_there_is_room_for() -> None:
    outbox = Outbox(most_bytes=3)
    made: list[bytes] = []

    async def frames() -> AsyncIterator[bytes]:
        for frame in (b"aa", b"bb", b"cc", b"dd"):
            made.append(frame)
            yield frame

    filling = asyncio.create_task(outbox.fill(frames()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert made == [b"aa", b"bb"]
    assert await outbox.take() == (b"aabb", False)
    assert await outbox.take() == (b"ccdd", False)
    assert await outbox.take() == (b"", True)
    await filling


@on_loop
async def test_a_stream_that_breaks_is_at_its_end_and_its_maker_raises() -> None:
    async def frames() -> AsyncIterator[bytes]:
        yield b"a"
        raise ValueError("broken")

    outbox = Outbox()
    filling = asyncio.create_task(outbox.fill(frames()))
    assert await outbox.take() == (b"a", True)
    with pytest.raises(ValueError, match="broken"):
        await filling
