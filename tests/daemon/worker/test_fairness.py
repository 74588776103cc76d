"""Streams and prompts that wait for one another, by the clock of a backend like a 0.5B model on two cores."""

from __future__ import annotations

import itertools

import pytest

from daemon.pool.protocol import Delta, Finished, ToDaemon
from daemon.worker.scheduler import Scheduler
from tests.daemon.worker.looping import Costs, LoopingBackend, ends_of, job, prompt_of, run, tokens_of

COSTS = Costs(first_s=0.016, more_s=0.0037, read_s=0.005)


def slow(*, context: int = 8192, concurrent: int = 12, **more: int) -> tuple[LoopingBackend, Scheduler]:
    backend = LoopingBackend()
    backend.costs = COSTS
    subject = Scheduler(backend, context_tokens=context, max_concurrent=concurrent, clock=backend.clock, **more)
    return backend, subject


def streams(backend: LoopingBackend, subject: Scheduler, count: int) -> None:
    """Streams that go on for long."""
    for seed in range(count):
        subject.submit(job(f"stream {seed}", prompt_of(20, seed=seed), 400))
    while backend.tokens("decode") < 10 * count:
        subject.step()


def gaps_until_first(backend: LoopingBackend, subject: Scheduler, name: str) -> tuple[list[float], float]:
    """Times between the tokens of the first stream until ``name`` has one, and how long that took."""
    started, told = backend.clock.now, [backend.clock.now]
    while True:
        events = [event.request_id for event in subject.step() if isinstance(event, Delta)]
        if "stream 0" in events:
            told.append(backend.clock.now)
        if name in events:
            return [later - earlier for earlier, later in itertools.pairwise(told)], backend.clock.now - started


@pytest.mark.parametrize("count", [1, 4, 8])
def test_a_long_prompt_that_joins_neither_stops_the_streams_nor_waits_for_them(count: int) -> None:
    backend, subject = slow()
    streams(backend, subject, count)
    step_s = COSTS.first_s + (count - 1) * COSTS.more_s
    subject.submit(job("long", prompt_of(1000, seed=99), 4))
    gaps, ttft_s = gaps_until_first(backend, subject, "long")
    # The first piece is read before it is known how long the model takes.
    least_piece_s = 8 * COSTS.read_s
    assert max(gaps) <= max(3.1 * step_s, step_s + 1.5 * least_piece_s)
    alone_s = 1000 * COSTS.read_s
    assert ttft_s <= 2 * alone_s


def test_the_time_that_a_piece_may_add_is_kept() -> None:
    backend, subject = slow(max_itl_ms=45)
    streams(backend, subject, 8)
    subject.submit(job("long", prompt_of(400, seed=99), 4))
    gaps, _ = gaps_until_first(backend, subject, "long")
    assert max(gaps) <= COSTS.first_s + 7 * COSTS.more_s + 0.061


@pytest.mark.parametrize(("max_itl_ms", "calls"), [(110, [20]), (45, [8, 8, 4])])
def test_a_short_prompt_is_read_at_once_beside_a_stream_where_one_call_may_take_so_long(
    max_itl_ms: int, calls: list[int]
) -> None:
    backend, subject = slow(max_itl_ms=max_itl_ms)
    streams(backend, subject, 1)
    subject.submit(job("long", prompt_of(200, seed=98), 2))  # by which the pace is known
    gaps_until_first(backend, subject, "long")
    before = len(backend.calls)
    subject.submit(job("short", prompt_of(20, seed=99), 2))
    gaps, _ = gaps_until_first(backend, subject, "short")
    assert [tokens for kind, _, tokens in backend.calls[before:] if kind == "extend"] == calls
    assert max(gaps) <= 0.001 * max_itl_ms + 2 * COSTS.first_s


def test_a_prompt_is_read_in_larger_calls_when_nothing_else_runs() -> None:
    backend, subject = slow()
    subject.submit(job("long", prompt_of(1000), 2))
    run(subject)
    alone = max(tokens for kind, _, tokens in backend.calls if kind == "extend")
    other, subject = slow()
    streams(other, subject, 2)
    subject.submit(job("long", prompt_of(1000, seed=99), 2))
    gaps_until_first(other, subject, "long")
    between = [tokens for kind, row, tokens in other.calls if kind == "extend" and row == 2]
    assert alone * COSTS.read_s <= 0.13
    assert max(between) < alone


def test_several_prompts_that_come_at_once_are_all_answered_in_time_while_streams_go_on() -> None:
    backend, subject = slow()
    streams(backend, subject, 4)
    started = backend.clock.now
    for name in "abcd":
        subject.submit(job(name, prompt_of(200, seed=ord(name)), 2))
    first_s: dict[str, float] = {}
    told = [backend.clock.now]
    while len(first_s) < 5:
        for event in subject.step():
            if isinstance(event, Delta) and event.request_id in {*"abcd", "stream 0"}:
                first_s.setdefault(event.request_id, backend.clock.now - started)
                told += [backend.clock.now] * (event.request_id == "stream 0")
    assert max(first_s.values()) <= 2 * 4 * 200 * COSTS.read_s
    gaps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert max(gaps) <= 4 * (COSTS.first_s + 3 * COSTS.more_s)


def test_the_room_of_all_rows_may_be_more_than_one_context_and_is_never_exceeded() -> None:
    backend, subject = slow(context=1024, concurrent=4, cache_tokens=2560)
    events: list[ToDaemon] = []
    for name in "abcdef":
        subject.submit(job(name, prompt_of(50, seed=ord(name)), None if name in "ab" else 900))
    most_rows = 0
    while not subject.is_idle:
        events += subject.step()
        most_rows = max(most_rows, len(backend.rooms))
        assert subject.reserved_tokens <= 2560
    assert 1024 < backend.most_reserved <= 2560
    assert most_rows >= 2
    ends = ends_of(events)
    assert {end.finish_reason for end in ends.values() if isinstance(end, Finished)} == {"length"}
    assert len(ends) == 6
    assert len(tokens_of(events, "a")) == 1024 - 50
