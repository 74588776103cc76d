"""One turn of a worker's loop: when it says that its requests take nothing any more."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable

import pytest

from daemon.pool.protocol import Cancel, Finished, Generate, Measure, Pulse, Sampling, ToDaemon, ToWorker
from daemon.worker.cores import Cores
from daemon.worker.large_pages import LargePages
from daemon.worker.main import Output, turn

ASKED = Generate(request_id="one", messages=[], sampling=Sampling())


class Said(Output):
    """What would be written, and no pipe. A sign of life was given just now."""

    def __init__(self) -> None:
        self.messages: list[ToDaemon] = []
        self._pulsed_at_s = time.monotonic()

    def send(self, messages: Iterable[ToDaemon]) -> None:
        self.messages += messages


class Counting:
    """A model whose answer to a request takes ``steps``."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._left = 0

    @property
    def is_idle(self) -> bool:
        return self._left == 0

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        if isinstance(message, Generate):
            self._left = self._steps
            return []
        self._left = 0
        return [ended("cancelled")]

    def pulse(self) -> Pulse:
        return Pulse(row_tokens=[self._left] if self._left else [])

    def step(self) -> list[ToDaemon]:
        was_idle, self._left = self.is_idle, max(0, self._left - 1)
        return [ended("stop")] if self.is_idle and not was_idle else []


def ended(reason: str) -> Finished:
    return Finished(
        request_id="one",
        finish_reason=reason,
        prompt_tokens=1,
        completion_tokens=1,
        queue_s=0.0,
        ttft_s=0.0,
        decode_s=0.0,
    )


def said(steps: int, turns: list[list[ToWorker]]) -> list[ToDaemon]:
    """What is said in turns before each of which some messages arrive."""
    model, inbox, output = Counting(steps), queue.SimpleQueue[ToWorker](), Said()
    for messages in turns:
        for message in messages:
            inbox.put(message)
        turn(model, Cores(), LargePages(list, lambda piece: None), inbox, output)
    return output.messages


@pytest.mark.parametrize(
    ("steps", "turns", "reason"),
    [
        (9, [[ASKED], [Cancel("one")]], "cancelled"),
        (2, [[ASKED], []], "stop"),
        (1, [[ASKED]], "stop"),
    ],
    ids=["cancelled", "after some steps", "at once"],
)
def test_an_end_is_followed_by_a_sign_that_nothing_is_taken(
    steps: int, turns: list[list[ToWorker]], reason: str
) -> None:
    assert said(steps, turns) == [ended(reason), Pulse()]


def test_what_is_measured_has_its_weights_where_they_will_be() -> None:
    laid: list[int] = []
    inbox = queue.SimpleQueue[ToWorker]()
    inbox.put(Measure(request_id="two", rows=1, tokens=1, calls=1))
    turn(Counting(1), Cores(), LargePages(lambda: [1, 2], laid.append), inbox, Said())
    assert laid == [1, 2]


def test_while_something_runs_no_more_is_said_than_what_is_due() -> None:
    assert said(9, [[ASKED], [], []]) == []
