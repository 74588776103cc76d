from __future__ import annotations

from typing import Any

import pytest

from daemon.metrics import families
from daemon.metrics.book import Metrics
from daemon.metrics.families import OTHER, Family
from daemon.metrics.tallies import Labels, Spread
from daemon.pool.failures import FailureKind
from daemon.pool.launch import Event
from daemon.pool.observer import FailedLoad, Loaded, Observers
from daemon.pool.protocol import Accepted, Delta, Embedded, Failed, Finished
from daemon.pool.session import Leaving
from registry.model import Model, Task
from tests.fakes import FakeClock, a_model

A, B = a_model("a"), a_model("b")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics(clock: FakeClock) -> Metrics:
    return Metrics(clock=clock)


def values(metrics: Metrics, family: Family) -> dict[Labels, float | Spread]:
    (samples,) = [samples for each, samples in metrics.read() if each is family]
    return {sample.labels: sample.value for sample in samples}


def spread(metrics: Metrics, family: Family, *labels: str) -> tuple[int, Any]:
    """How many values, and their sum."""
    value = values(metrics, family)[labels]
    assert isinstance(value, Spread)
    return sum(value.counts), pytest.approx(value.sum)


def answer(metrics: Metrics, clock: FakeClock, *events: tuple[float, Event], asked_s: float = 0.0) -> None:
    """Each event with the time that it comes at."""
    meter = metrics.meter(A, asked_s=asked_s)
    for at_s, event in events:
        clock.now_s = at_s
        meter.note(event)
    meter.close()


def finished(**fields: int) -> Finished:
    told: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 6, **fields}
    return Finished(request_id="r", finish_reason="stop", queue_s=0, ttft_s=0, decode_s=0, **told)


def test_an_answer_counts_its_tokens_and_the_times_between_them(metrics: Metrics, clock: FakeClock) -> None:
    clock.now_s = 2.0
    events = (
        (2.0, Accepted("r", 100)),
        (3.0, Delta("r", "a", 1)),
        (3.5, Delta("r", "b", 1)),
        (4.1, Delta("r", "cd", 3)),
        (4.2, Delta("r", "e", 0)),
        (4.3, finished(cached_tokens=60)),
    )
    answer(metrics, clock, *events, asked_s=0.5)
    assert values(metrics, families.PROMPT_TOKENS) == {("a:1",): 100}
    assert values(metrics, families.CACHED_TOKENS) == {("a:1",): 60}
    assert values(metrics, families.COMPLETION_TOKENS) == {("a:1",): 6}
    assert values(metrics, families.ANSWERS) == {("a:1", "stop"): 1}
    assert spread(metrics, families.WAIT_SECONDS, "a:1") == (1, 1.5)
    assert spread(metrics, families.FIRST_TOKEN_SECONDS, "a:1") == (1, 2.5)
    assert spread(metrics, families.BETWEEN_TOKENS_SECONDS, "a:1") == (4, 1.1)


def test_several_answers_to_one_request_have_times_of_their_own(metrics: Metrics, clock: FakeClock) -> None:
    events = [(float(at), Delta("r", "x", 1, choice=at % 2)) for at in range(6)]
    answer(metrics, clock, *events)
    assert spread(metrics, families.FIRST_TOKEN_SECONDS, "a:1") == (1, 0.0)
    assert spread(metrics, families.BETWEEN_TOKENS_SECONDS, "a:1") == (4, 8.0)


@pytest.mark.parametrize(
    ("last", "reason", "tokens"),
    [
        (None, "unfinished", 1),
        (Failed(request_id="r", code="x", message="x"), "failed", 1),
        (finished(completion_tokens=0), "stop", 1),
    ],
)
def test_what_was_generated_counts_however_it_ended(
    last: Event | None, reason: str, tokens: int, metrics: Metrics, clock: FakeClock
) -> None:
    answer(metrics, clock, (0.0, Delta("r", "x", 1)), *([] if last is None else [(1.0, last)]))
    assert values(metrics, families.ANSWERS) == {("a:1", reason): 1}
    assert values(metrics, families.COMPLETION_TOKENS) == {("a:1",): tokens}


def test_embedded_texts_have_a_prompt_and_no_completion(metrics: Metrics, clock: FakeClock) -> None:
    answer(metrics, clock, (0.0, Embedded(request_id="r", vectors="", dimensions=3, prompt_tokens=40)))
    assert values(metrics, families.PROMPT_TOKENS) == {("a:1",): 40}
    assert values(metrics, families.ANSWERS) == {("a:1", "embedded"): 1}
    assert values(metrics, families.COMPLETION_TOKENS) == {}


def loaded(model: Model) -> Loaded:
    return Loaded(model=model, threads=2, context_tokens=1, load_s=2.5, resident_bytes=1, peak_bytes=None)


def failed(model: Model) -> FailedLoad:
    return FailedLoad(model=model, kind=FailureKind.CRASHED, message="secret", retry_s=1)


def test_the_pool_tells_of_loads_failures_and_ends(metrics: Metrics) -> None:
    pool = Observers((metrics,))
    pool.loaded(loaded(A))
    pool.loaded(loaded(B))
    pool.failed(failed(A))
    pool.loaded(loaded(A))
    pool.loaded(loaded(A))
    pool.unloaded(A, Leaving.EVICTED, "secret")
    pool.ran_out_of_memory(B, 5)
    assert values(metrics, families.LOADS) == {("a:1",): 3, ("b:1",): 1}
    assert spread(metrics, families.LOAD_SECONDS) == (4, 10.0)
    assert values(metrics, families.FAILURES) == {("a:1", "crashed"): 1}
    assert values(metrics, families.RESTARTS) == {("a:1",): 1}
    assert values(metrics, families.UNLOADS) == {("a:1", "evicted"): 1}
    assert values(metrics, families.OUT_OF_MEMORY) == {("b:1",): 1}


def test_requests_in_flight_are_those_that_have_not_ended(metrics: Metrics) -> None:
    metrics.request_began()
    metrics.request_began()
    metrics.request_ended(route="/x", method="GET", status=503, seconds=0.5)
    assert values(metrics, families.IN_FLIGHT) == {(): 1}
    assert values(metrics, families.REQUESTS) == {("/x", "GET", "5xx"): 1}
    assert spread(metrics, families.REQUEST_SECONDS, "/x", "GET") == (1, 0.5)


def test_selections_count_by_task_and_model(metrics: Metrics) -> None:
    for model in (A, A, B):
        metrics.selected(Task.CODE, model)
    assert values(metrics, families.SELECTIONS) == {("code", "a:1"): 2, ("code", "b:1"): 1}


def test_models_beyond_a_limit_are_counted_together() -> None:
    metrics = Metrics(max_models=2)
    for number in range(5000):
        metrics.selected(Task.CHAT, a_model(f"m{number % 2500}"))
    found = values(metrics, families.SELECTIONS)
    assert found == {("chat", "m0:1"): 2, ("chat", "m1:1"): 2, ("chat", OTHER): 4996}
