"""Several answers to one request, against a backend whose next token is the last one plus one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from daemon.pool.protocol import Accepted, Delta, Failed, Finished, ToDaemon
from daemon.worker.answer import AnswerText
from daemon.worker.choices import Choices
from daemon.worker.request import Job
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from daemon.worker.scheduler import Scheduler
from registry.errors import GenerationFailed

VOCAB = 64


class Letters:
    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + token % 26) for token in ids)

    def is_silent(self, token: int) -> bool:
        return False


class CountingBackend:
    can_copy = False
    can_verify = False
    can_resize = False
    least_room_tokens = 0

    def __init__(self, broken_row: int | None = None) -> None:
        self.rows: set[int] = set()
        self.opened = 0
        self.broken_row = broken_row

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        row, self.opened = self.opened, self.opened + 1
        self.rows.add(row)
        return row

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        logits = np.zeros(VOCAB, dtype=np.float32)
        logits[(tokens[-1] + 1) % VOCAB] = 9
        return logits

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        is_broken = len(batch) > 2  # so that others of the same batch have tokens to tell
        return [
            GenerationFailed("broken") if is_broken and row == self.broken_row else self.extend(row, [token])
            for row, token in batch
        ]

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        raise GenerationFailed("not here")

    def rewind(self, row: int, length: int) -> None:
        raise GenerationFailed("not here")

    def resize(self, row: int, room_tokens: int) -> None:
        raise GenerationFailed("rooms stay")

    def copy(self, row: int, length: int, room_tokens: int) -> int:
        raise GenerationFailed("not here")

    def close(self, row: int) -> None:
        self.rows.remove(row)


def jobs(name: str, count: int, *, max_tokens: Sequence[int] = (4, 4, 4), prompt: int = 20) -> list[Job]:
    return [
        Job(
            request_id=name,
            prompt=[1] * prompt,
            max_tokens=max_tokens[choice],
            end_ids=frozenset(),
            sampler=Sampler(SamplingParams(temperature=0)),
            text=AnswerText(Letters(), ()),
        )
        for choice in range(count)
    ]


def choices(backend: CountingBackend, max_concurrent: int = 4) -> Choices:
    return Choices(Scheduler(backend, context_tokens=1024, max_concurrent=max_concurrent))


def run(subject: Choices) -> list[ToDaemon]:
    events: list[ToDaemon] = []
    while not subject.is_idle:
        events += subject.step()
    return events


def test_each_answer_has_its_number_and_the_request_one_end() -> None:
    subject = choices(CountingBackend())
    assert subject.submit(jobs("r", 3, max_tokens=(4, 2, 3))) == [Accepted("r", 20)]
    events = run(subject)
    texts = ["", "", ""]
    for event in events[:-1]:
        assert isinstance(event, Delta)
        assert event.request_id == "r"
        texts[event.choice] += event.text
    assert texts == ["cdef", "cd", "cde"]
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.request_id, end.prompt_tokens, end.completion_tokens) == ("r", 20, 9)
    assert (end.finish_reason, end.finish_reasons) == ("length", ["length"] * 3)


def test_answers_that_must_wait_for_a_row_come_too() -> None:
    subject = choices(CountingBackend(), max_concurrent=1)
    subject.submit(jobs("r", 3))
    end = run(subject)[-1]
    assert isinstance(end, Finished)
    assert end.completion_tokens == 12


def test_one_answer_is_as_without_choices() -> None:
    subject = choices(CountingBackend())
    subject.submit(jobs("r", 1))
    end = run(subject)[-1]
    assert isinstance(end, Finished)
    assert (end.request_id, end.finish_reasons) == ("r", [])


@pytest.mark.parametrize("steps", [0, 1, 4, 7])
def test_a_cancel_ends_all_answers_at_once(steps: int) -> None:
    backend = CountingBackend()
    subject = choices(backend)
    subject.submit(jobs("r", 3, max_tokens=(50, 2, 50)))
    for _ in range(steps):
        subject.step()
    end = subject.cancel("r")[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    assert len(end.finish_reasons) == 3
    assert subject.is_idle
    assert backend.rows == set()
    assert subject.cancel("r") == []


def test_an_answer_that_fails_fails_the_request_and_nothing_comes_after() -> None:
    backend = CountingBackend(broken_row=1)
    subject = choices(backend)
    subject.submit(jobs("r", 3, max_tokens=(20, 20, 20)))
    subject.submit(jobs("other", 1))
    events = run(subject)
    mine = [event for event in events if isinstance(event, Delta | Failed | Finished) and event.request_id != "other"]
    assert {event.request_id for event in mine} == {"r"}
    assert [type(event) for event in mine].count(Failed) == 1
    assert isinstance(mine[-1], Failed)
    other = events[-1]
    assert isinstance(other, Finished)
    assert (other.request_id, other.finish_reason) == ("other", "length")
    assert backend.rows == set()


def test_a_prompt_that_does_not_fit_is_refused_once() -> None:
    subject = choices(CountingBackend())
    (failed,) = subject.submit(jobs("r", 3, prompt=1024))
    assert isinstance(failed, Failed)
    assert (failed.request_id, failed.code) == ("r", "context_length_exceeded")
    assert subject.is_idle


def test_requests_with_one_and_with_several_answers_run_side_by_side() -> None:
    subject = choices(CountingBackend(), max_concurrent=8)
    subject.submit(jobs("one", 1))
    subject.submit(jobs("three", 3))
    subject.submit(jobs("two", 2))
    ends = [event for event in run(subject) if isinstance(event, Finished)]
    assert {end.request_id: end.completion_tokens for end in ends} == {"one": 4, "three": 12, "two": 8}
    assert len(ends) == 3
