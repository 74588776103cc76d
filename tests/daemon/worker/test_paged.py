"""Models whose engine batches and samples by itself: the scheduler with a fake engine, and with the library's own.

The library's engine runs here with a model of the usual kind, four requests at a time: paged attention needs a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og
import pytest

from daemon.pool.protocol import Accepted, Delta, Failed, Finished, ToDaemon
from daemon.worker.answer import AnswerText
from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.backends.turns import EngineTurns, TurnEvent
from daemon.worker.folder import read_config
from daemon.worker.logprobs import Logprobs
from daemon.worker.paged import PagedScheduler
from daemon.worker.request import Job
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from daemon.worker.scheduler import Scheduler
from registry.errors import GenerationFailed
from registry.model import ExecutionProvider

END = 0
GREEDY = SamplingParams(temperature=0)


class Letters:
    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(0x100 + token) for token in ids)

    def is_silent(self, token: int) -> bool:
        return False

    def bytes_of(self, token: int) -> bytes:
        return b""


class CountingTurns:
    """The next token is the last one plus one; ``broken`` prompts cannot begin or are given up."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}
        self.left: dict[int, int] = {}
        self.started = 0
        self.most_open = 0
        self.is_broken = False

    def start(self, tokens: Sequence[int], sampling: SamplingParams, *, max_tokens: int, min_tokens: int) -> int:
        if tokens[-1] == 66:
            raise GenerationFailed("cannot begin")
        turn, self.started = self.started, self.started + 1
        self.last[turn], self.left[turn] = tokens[-1], max_tokens
        self.most_open = max(self.most_open, len(self.last))
        return turn

    def run(self) -> list[TurnEvent]:
        if self.is_broken:
            raise GenerationFailed("the engine broke")
        events: list[TurnEvent] = []
        for turn in list(self.last):
            self.last[turn] += 1
            self.left[turn] -= 1
            if self.last[turn] == 77:
                events.append(TurnEvent(turn=turn, error="EXECUTION_CAPACITY_EXCEEDED"))
            else:
                reason = None if self.left[turn] else "length"
                events.append(TurnEvent(turn=turn, token=self.last[turn], reason=reason, cached_tokens=2))
        return events

    def close(self, turn: int) -> None:
        del self.last[turn], self.left[turn]


def job(name: str, prompt: Sequence[int] = (5,), max_tokens: int | None = 3, **more: Any) -> Job:
    fields: dict[str, Any] = {
        "request_id": name,
        "prompt": list(prompt),
        "max_tokens": max_tokens,
        "end_ids": frozenset({END}),
        "sampler": Sampler(GREEDY),
        "text": AnswerText(Letters(), more.pop("stop", ())),
    }
    return Job(**{**fields, **more})


def paged(turns: CountingTurns, max_concurrent: int = 4) -> PagedScheduler:
    return PagedScheduler(turns, context_tokens=128, max_concurrent=max_concurrent, clock=lambda: 1.0)


def run(subject: PagedScheduler | Scheduler, limit: int = 2000) -> list[ToDaemon]:
    events: list[ToDaemon] = []
    while not subject.is_idle:
        events += subject.step()
        limit -= 1
        assert limit > 0, "the scheduler does not come to an end"
    return events


def tokens_of(events: Sequence[ToDaemon], name: str) -> list[int]:
    text = "".join(event.text for event in events if isinstance(event, Delta) and event.request_id == name)
    return [ord(character) - 0x100 for character in text]


def reason_of(events: Sequence[ToDaemon], name: str) -> str:
    (end,) = [event for event in events if isinstance(event, Finished | Failed) and event.request_id == name]
    return end.finish_reason if isinstance(end, Finished) else end.code


def test_a_request_is_accepted_streamed_and_ends_at_its_length() -> None:
    turns = CountingTurns()
    subject = paged(turns)
    assert subject.submit(job("a", [1, 5])) == [Accepted("a", 2)]
    events = run(subject)
    assert tokens_of(events, "a") == [6, 7, 8]
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.prompt_tokens, end.completion_tokens, end.cached_tokens) == ("length", 2, 3, 2)
    assert turns.last == {}


def test_end_tokens_and_stop_strings_end_the_answer_and_its_turn() -> None:
    turns = CountingTurns()
    subject = paged(turns)
    subject.submit(job("token", [5], 50, end_ids=frozenset({8})))
    subject.submit(job("string", [5], 50, stop=[Letters().decode([8, 9])]))
    events = run(subject)
    assert tokens_of(events, "token") == tokens_of(events, "string") == [6, 7]
    assert reason_of(events, "token") == reason_of(events, "string") == "stop"
    assert turns.last == {}


def test_no_more_answers_are_in_the_engine_than_allowed() -> None:
    turns = CountingTurns()
    subject = paged(turns, max_concurrent=2)
    for name in "abcde":
        subject.submit(job(name))
    ends = [event.request_id for event in run(subject) if isinstance(event, Finished)]
    assert ends == list("abcde")
    assert turns.most_open == 2


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_request_is_cancelled_wherever_it_is(steps: int) -> None:
    turns = CountingTurns()
    subject = paged(turns, max_concurrent=1)
    subject.submit(job("a", max_tokens=50))
    subject.submit(job("b", max_tokens=50))
    for _ in range(steps):
        subject.step()
    assert reason_of(subject.cancel("a"), "a") == "cancelled"
    assert reason_of(subject.cancel("b"), "b") == "cancelled"
    assert subject.cancel("a") == []
    assert subject.is_idle
    assert turns.last == {}


def test_what_goes_wrong_in_one_answer_ends_only_that() -> None:
    turns = CountingTurns()
    subject = paged(turns)
    for name, last in (("cannot begin", 66), ("given up", 75), ("good", 5)):
        subject.submit(job(name, [last]))
    events = run(subject)
    assert reason_of(events, "cannot begin") == reason_of(events, "given up") == "generation_failed"
    assert reason_of(events, "good") == "length"
    assert turns.last == {}


def test_an_engine_that_breaks_fails_what_runs_and_nothing_stays() -> None:
    turns = CountingTurns()
    subject = paged(turns)
    subject.submit(job("a"))
    subject.submit(job("b"))
    turns.is_broken = True
    events = run(subject)
    assert reason_of(events, "a") == reason_of(events, "b") == "generation_failed"
    assert turns.last == {}


def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers() -> None:
    (failed,) = paged(CountingTurns()).submit(job("a", [1] * 128))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.context_tokens) == ("context_length_exceeded", 128)


class Anything:
    is_complete = False

    def apply(self, logits: Logits) -> Logits:
        return logits.copy()

    def accept(self, token: int) -> None:
        pass

    def fitting(self, tokens: Sequence[int]) -> int:
        return len(tokens)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("logit_bias", {"sampler": Sampler(SamplingParams(logit_bias={1: 1.0}))}),
        ("min_p", {"sampler": Sampler(SamplingParams(min_p=0.1))}),
        ("frequency_penalty", {"sampler": Sampler(SamplingParams(frequency_penalty=0.1))}),
        ("presence_penalty", {"sampler": Sampler(SamplingParams(presence_penalty=0.1))}),
        ("response_format", {"sampler": Sampler(GREEDY, constraint=Anything())}),
        ("logprobs", {"logprobs": Logprobs(Letters(), 0)}),
        ("model", {"adapter": "style"}),
    ],
)
def test_what_only_a_sampler_outside_can_do_is_refused(name: str, more: dict[str, Any]) -> None:
    subject = paged(CountingTurns())
    (failed,) = subject.submit(job("a", **more))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("unsupported_parameter", name)
    assert subject.is_idle


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[og.Model]:
    yield og.Model(engine_config(tiny_model, read_config(tiny_model), ExecutionProvider.CPU, threads=1))


def prompts(count: int) -> dict[str, list[int]]:
    random = np.random.default_rng(1)
    return {str(name): random.integers(1, 250, 20 + 7 * name).tolist() for name in range(count)}


def test_the_librarys_engine_gives_the_tokens_of_a_generator(model: og.Model) -> None:
    subject = PagedScheduler(EngineTurns(model), context_tokens=512, max_concurrent=4)
    plain = Scheduler(GeneratorBackend(model), context_tokens=2048, max_concurrent=4)
    for name, prompt in prompts(6).items():
        subject.submit(job(name, prompt, 12, end_ids=frozenset()))
        plain.submit(job(name, prompt, 12, end_ids=frozenset()))
    events, expected = run(subject), run(plain)
    for name in prompts(6):
        assert tokens_of(events, name) == tokens_of(expected, name)
        assert len(tokens_of(events, name)) == 12


def test_the_librarys_engine_goes_on_after_a_cancel_and_after_a_stop(model: og.Model) -> None:
    subject = PagedScheduler(EngineTurns(model), context_tokens=512, max_concurrent=4)
    first, second, third = prompts(3).values()
    subject.submit(job("cancelled", first, 400))
    subject.submit(job("stopped", second, 400, end_ids=frozenset(range(600))))
    subject.submit(job("whole", third, 9, end_ids=frozenset()))
    events = subject.step()
    events += subject.cancel("cancelled")
    events += run(subject)
    assert reason_of(events, "cancelled") == "cancelled"
    assert reason_of(events, "stopped") == "stop"
    assert reason_of(events, "whole") == "length"
    subject.submit(job("next", first, 5, end_ids=frozenset()))
    assert len(tokens_of(run(subject), "next")) == 5


def test_the_librarys_engine_samples_as_it_is_asked_to(model: og.Model) -> None:
    subject = PagedScheduler(EngineTurns(model), context_tokens=512, max_concurrent=4)
    (prompt,) = prompts(1).values()
    params = SamplingParams(temperature=5.0, top_p=0.99, top_k=0, repetition_penalty=1.1)
    for name in "ab":
        subject.submit(job(name, prompt, 20, sampler=Sampler(params, min_tokens=20), end_ids=frozenset()))
    events = run(subject)
    assert len(tokens_of(events, "a")) == len(tokens_of(events, "b")) == 20
    assert tokens_of(events, "a") != tokens_of(events, "b")


def test_a_seed_without_dynamic_batching_is_the_engines_to_refuse(model: og.Model) -> None:
    subject = PagedScheduler(EngineTurns(model), context_tokens=512, max_concurrent=4)
    subject.submit(job("a", [1, 2, 3], sampler=Sampler(SamplingParams(seed=5))))
    (failed,) = run(subject)
    assert isinstance(failed, Failed)
    assert "dynamic batching" in failed.message
