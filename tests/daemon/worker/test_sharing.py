"""Requests that begin alike and run at the same time: what they have in common is read once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.pool.protocol import Finished, ToDaemon
from daemon.worker.choices import Choices
from daemon.worker.rows import REREAD_TOKENS
from daemon.worker.sampling import SamplingParams
from tests.daemon.worker.looping import (
    LoopingBackend,
    answer,
    ends_of,
    job,
    prompt_of,
    run,
    scheduler_of,
    tokens_of,
)

SYSTEM = prompt_of(600)


def plain(prompt: list[int], max_tokens: int = 8, params: SamplingParams | None = None) -> list[int]:
    """The answer to one who is alone."""
    subject = scheduler_of(LoopingBackend(), draft_tokens=0)
    return answer(subject, job("a", prompt, max_tokens, params=params))["a"]


def asking(name: str, own: int = 20) -> list[int]:
    return [*SYSTEM, *prompt_of(own, seed=ord(name))]


def test_requests_with_one_system_prompt_that_come_together_read_it_once() -> None:
    backend = LoopingBackend()
    answers = answer(scheduler_of(backend), *(job(name, asking(name), 8) for name in "abcd"))
    assert answers == {name: plain(asking(name)) for name in "abcd"}
    assert backend.tokens("extend") == 600 + 4 * 20
    assert backend.count("copy") == 3


def test_those_who_come_later_begin_with_what_a_running_row_holds() -> None:
    backend = LoopingBackend()
    subject = scheduler_of(backend)
    subject.submit(job("a", asking("a"), 100))
    while not backend.count("decode"):
        subject.step()
    read_before = backend.tokens("extend")
    subject.submit(job("b", asking("b"), 8))
    events = run(subject)
    end = ends_of(events)["b"]
    assert isinstance(end, Finished)
    assert end.cached_tokens == 600
    assert backend.tokens("extend") - read_before == 20
    assert tokens_of(events, "b") == plain(asking("b"))


@pytest.mark.parametrize("kept_rows", [0, 4])
def test_equal_prompts_whose_answers_are_one_token_are_read_once(kept_rows: int) -> None:
    """The first has ended as soon as its prompt is read; what it left is found where it is kept."""
    backend = LoopingBackend()
    subject = scheduler_of(backend, kept_rows=kept_rows, context=16384)
    answer(subject, *(job(name, SYSTEM, 1) for name in "abcd"))
    assert backend.tokens("extend") == (600 + 3 * REREAD_TOKENS if kept_rows else 4 * 600)


def test_the_others_read_on_when_the_one_who_was_ahead_is_gone() -> None:
    backend = LoopingBackend()
    subject = scheduler_of(backend)
    for name in "abc":
        subject.submit(job(name, asking(name), 8))
    events: list[ToDaemon] = []
    for _ in range(3):
        events += subject.step()
    events += subject.cancel("a")
    events += run(subject)
    assert {name: tokens_of(events, name) for name in "bc"} == {name: plain(asking(name)) for name in "bc"}
    assert backend.tokens("extend") <= 600 + 3 * 128 + 2 * 20


def test_one_who_shares_nothing_does_not_wait_for_those_who_do() -> None:
    backend = LoopingBackend()
    subject = scheduler_of(backend)
    for name in "ab":
        subject.submit(job(name, asking(name), 8))
    subject.submit(job("other", prompt_of(16, seed=5), 1))
    events = subject.step() + subject.step()
    assert set(ends_of(events)) == {"other"}


def test_admission_stays_in_order_and_nobody_has_more_room_than_there_is() -> None:
    backend = LoopingBackend()
    subject = scheduler_of(backend, context=2048)
    for name in "abcdef":
        subject.submit(job(name, asking(name), 8))
    events = run(subject)
    assert backend.most_reserved <= 2048
    assert list(ends_of(events)) == list("abcdef")


def test_rows_with_another_adapter_are_no_beginning() -> None:
    backend = LoopingBackend()
    answer(scheduler_of(backend), job("a", SYSTEM, 8), job("b", SYSTEM, 8, adapter="style"))
    assert backend.tokens("extend") == 2 * 600


def test_what_tokens_do_not_tell_is_no_beginning() -> None:
    backend = LoopingBackend()
    answer(scheduler_of(backend), job("a", SYSTEM, 8), replace(job("b", SYSTEM, 8), can_reuse=False))
    assert backend.tokens("extend") == 2 * 600


def test_a_copy_that_fails_costs_only_the_reading() -> None:
    backend = LoopingBackend()
    backend.failing = {"copy"}
    answers = answer(scheduler_of(backend), *(job(name, asking(name), 8) for name in "abc"))
    assert answers == {name: plain(asking(name)) for name in "abc"}
    assert backend.tokens("extend") == 3 * 620


def test_several_answers_to_one_request_read_its_prompt_once() -> None:
    backend = LoopingBackend()
    subject = Choices(scheduler_of(backend))
    subject.submit([job("r", SYSTEM, 5, params=SamplingParams(seed=seed)) for seed in range(4)])
    events: list[ToDaemon] = []
    while not subject.is_idle:
        events += subject.step()
    assert backend.tokens("extend") == 600 + 3 * REREAD_TOKENS
    (end,) = ends_of(events).values()
    assert isinstance(end, Finished)
    assert end.completion_tokens == 20


asked = st.tuples(
    st.integers(0, 1),  # which of two texts it begins with
    st.integers(0, 300),  # and how far
    st.integers(1, 40),  # own tokens
    st.integers(1, 60),  # tokens of the answer
    st.sampled_from([None, "style"]),
    st.integers(0, 6),  # steps until the next comes
    st.booleans(),  # given up then
)


@settings(max_examples=40, deadline=None)
@given(
    requests=st.lists(asked, max_size=8),
    concurrent=st.integers(1, 4),
    kept_rows=st.integers(0, 2),
    draft_tokens=st.sampled_from([0, 4]),
    failing=st.sampled_from([set(), {"copy"}, {"rewind"}]),
)
def test_whatever_is_shared_answers_are_those_of_one_who_is_alone_and_every_request_ends_once(
    requests: list[tuple[int, int, int, int, str | None, int, bool]],
    concurrent: int,
    kept_rows: int,
    draft_tokens: int,
    failing: set[str],
) -> None:
    backend = LoopingBackend()
    backend.failing = failing
    subject = scheduler_of(backend, context=1024, concurrent=concurrent, kept_rows=kept_rows, draft_tokens=draft_tokens)
    events: list[ToDaemon] = []

    def step() -> None:
        events.extend(subject.step())
        assert subject.reserved_tokens == sum(backend.rooms.values()) <= 1024

    prompts: dict[str, list[int]] = {}
    for index, (text, common, own, max_tokens, adapter, pause, is_given_up) in enumerate(requests):
        prompts[str(index)] = [*prompt_of(300, seed=text)[:common], *prompt_of(own, seed=index + 10)]
        events += subject.submit(job(str(index), prompts[str(index)], max_tokens, adapter=adapter))
        for _ in range(pause):
            step()
        if is_given_up:
            events += subject.cancel(str(index))
    while not subject.is_idle:
        step()
    ends = ends_of(events)
    assert set(ends) == set(prompts)
    for index, (_, _, _, max_tokens, adapter, _, _) in enumerate(requests):
        name, end = str(index), ends[str(index)]
        assert isinstance(end, Finished)
        assert end.cached_tokens <= max(0, len(prompts[name]) - REREAD_TOKENS)
        alone = scheduler_of(LoopingBackend(), context=1024, draft_tokens=0)
        expected = answer(alone, job(name, prompts[name], max_tokens, adapter=adapter))[name]
        shown = tokens_of(events, name)
        assert shown == (expected if end.finish_reason == "length" else expected[: len(shown)])
