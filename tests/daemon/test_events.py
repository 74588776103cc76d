from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from daemon.events import RESET, Event, EventLog, Follower
from registry.errors import Overloaded
from tests.fakes import PATIENCE_S, on_loop

QUIET_S = 0.01


async def next_batch(follower: Follower) -> Sequence[Event]:
    """The next news; () if there is none for a moment."""
    async for events in follower.batches(idle_s=QUIET_S):
        return events
    raise AssertionError("the log is closed")


def numbers(events: Sequence[Event]) -> list[Any]:
    return [json.loads(event.data).get("n", event.kind) for event in events]


def publish(log: EventLog, *values: int) -> None:
    for value in values:
        log.publish("counted", {"n": value})


@on_loop
async def test_news_comes_in_order_once_and_only_from_now_on() -> None:
    log = EventLog()
    publish(log, 1)
    with log.follow() as follower:
        assert numbers(await next_batch(follower)) == []
        publish(log, 2, 3)
        assert numbers(await next_batch(follower)) == [2, 3]
        assert numbers(await next_batch(follower)) == []


@on_loop
async def test_a_client_that_comes_back_gets_exactly_what_it_missed() -> None:
    log = EventLog()
    with log.follow() as follower:
        publish(log, 1, 2, 3)
        seen = await next_batch(follower)
    publish(log, 4)
    for event, missed in zip(seen, ([2, 3, 4], [3, 4], [4]), strict=True):
        with log.follow(event.id) as follower:
            assert numbers(await next_batch(follower)) == missed


@on_loop
async def test_the_position_before_any_event_can_be_resumed_from() -> None:
    log = EventLog()
    with log.follow() as follower:
        position = follower.position
    publish(log, 1)
    with log.follow(position) as follower:
        assert numbers(await next_batch(follower)) == [1]


@pytest.mark.parametrize(
    "unknown", ["", "x", "-1", "other-1", "{start}-", "{start}-9", "{start}--1", "{start}-١", "{start}-" + "9" * 400]
)
@on_loop
async def test_an_id_that_was_never_given_means_list_again_and_go_on(unknown: str) -> None:
    log = EventLog()
    publish(log, 1)
    with log.follow() as other:
        start = str(other.position).partition("-")[0]
    with log.follow(unknown.replace("{start}", start)) as follower:
        assert numbers(await next_batch(follower)) == [RESET]
        publish(log, 2)
        assert numbers(await next_batch(follower)) == [2]


@on_loop
async def test_an_id_that_is_too_old_or_a_reader_that_is_too_slow_means_list_again() -> None:
    log = EventLog(max_events=lambda: 2)
    with log.follow() as follower:
        start = follower.position
        publish(log, 1, 2)
        assert numbers(await next_batch(follower)) == [1, 2]
        publish(log, 3, 4, 5)
        (reset,) = await next_batch(follower)
        assert reset.kind == RESET
        publish(log, 6)
        assert numbers(await next_batch(follower)) == [6]
    with log.follow(reset.id) as follower:
        assert numbers(await next_batch(follower)) == [6]
    with log.follow(start) as follower:
        assert numbers(await next_batch(follower)) == [RESET]


@on_loop
async def test_an_id_of_the_start_before_is_not_taken_for_one_of_this_start() -> None:
    before, after = EventLog(), EventLog()
    publish(before, 1)
    publish(after, 1, 2)
    with before.follow() as follower:
        position = follower.position
    with after.follow(position) as follower:
        assert numbers(await next_batch(follower)) == [RESET]


@on_loop
async def test_events_of_many_threads_arrive_all_and_in_one_order() -> None:
    log = EventLog(max_events=lambda: 1000)
    got: list[Event] = []
    with log.follow() as follower:
        threads = [threading.Thread(target=publish, args=(log, *range(100))) for _ in range(4)]
        for thread in threads:
            thread.start()

        async def collect() -> None:
            async for events in follower.batches(idle_s=QUIET_S):
                got.extend(events)
                if len(got) == 400:
                    return

        await asyncio.wait_for(collect(), PATIENCE_S)
    for thread in threads:
        thread.join()
    assert [int(event.id.rpartition("-")[2]) for event in got] == list(range(1, 401))


@on_loop
async def test_a_follower_that_waits_is_woken_by_news_and_by_the_end() -> None:
    log = EventLog()
    with log.follow() as follower:
        batches = follower.batches(idle_s=PATIENCE_S)
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        threading.Thread(target=publish, args=(log, 1)).start()
        assert numbers(await asyncio.wait_for(waiting, PATIENCE_S)) == [1]
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        log.close()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, PATIENCE_S)
    with log.follow() as late:
        assert [events async for events in late.batches(idle_s=PATIENCE_S)] == []


@on_loop
async def test_places_are_bounded_and_given_back() -> None:
    log = EventLog(max_followers=lambda: 2)
    first, _second = log.follow(), log.follow()
    with pytest.raises(Overloaded, match="max_subscribers"):
        log.follow()
    first.close()
    first.close()
    assert log.followers == 1
    log.follow()
    assert log.followers == 2


def test_a_follower_of_a_loop_that_is_gone_disturbs_nobody() -> None:
    log = EventLog()

    async def follow() -> None:
        log.follow()

    asyncio.run(follow())
    publish(log, 1)
    log.close()


@on_loop
async def test_what_is_sent_is_ascii_on_one_line() -> None:
    log = EventLog()
    with log.follow() as follower:
        log.publish("named", {"id": "模型\u2028 \n\r\x85ü"})
        (event,) = await next_batch(follower)
    assert event.data.isascii()
    assert not set(event.data) & set(b"\r\n")
    assert json.loads(event.data) == {"id": "模型\u2028 \n\r\x85ü"}


@on_loop
async def test_how_many_events_are_kept_and_how_many_may_follow_is_asked_each_time() -> None:
    bounds = {"events": 3, "followers": 1}
    log = EventLog(max_events=lambda: bounds["events"], max_followers=lambda: bounds["followers"])
    start = log.follow()
    publish(log, 1, 2, 3)
    with pytest.raises(Overloaded, match="max_subscribers"):
        log.follow()
    bounds |= {"events": 1, "followers": 2}
    log.follow().close()
    publish(log, 4)
    (event,) = await next_batch(start)
    assert event.kind == RESET  # three of the four are gone
    start.close()


def test_all_events_are_counted_by_kind_also_those_that_are_forgotten() -> None:
    log = EventLog(max_events=lambda: 1)
    publish(log, 1, 2, 3)
    log.reset("too many")
    assert log.published() == {"counted": 3, RESET: 1}
