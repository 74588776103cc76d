from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from daemon.learner import NOTICEABLE, Answered, Learner, is_noticeable
from daemon.pool.observer import Loaded
from registry.experience import Measurement
from registry.model import Model
from selector.learning import nothing_measured
from tests.fakes import FakeClock, a_model, on_loop

A, B = a_model("a", content="one"), a_model("b", content="two")


class Notebook:
    """Where measurements are written down; it can fail."""

    def __init__(self) -> None:
        self.pages: list[tuple[Measurement, ...]] = []
        self.error: Exception | None = None
        self.tried = threading.Event()

    def __call__(self, measurements: Iterable[Measurement]) -> None:
        self.tried.set()
        if self.error is not None:
            raise self.error
        self.pages.append(tuple(measurements))


class Bench:
    def __init__(self, known: Iterable[Measurement] = ()) -> None:
        self.notebook = Notebook()
        self.clock = FakeClock()
        self.learner = Learner(self.notebook, known, clock=self.clock, now=lambda: 1000.0 + self.clock.now_s)

    def load(self, model: Model = A, **changes: Any) -> None:
        fields: dict[str, Any] = {"load_s": 2.0, "resident_bytes": 500, "peak_bytes": 800, "context_tokens": 1024}
        self.learner.loaded(Loaded(model=model, threads=2, **{**fields, **changes}))

    def answer(self, model: Model = A, **changes: Any) -> None:
        """One at 10 tokens/s, unless told otherwise."""
        fields: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 11, "ttft_s": 1.0, "decode_s": 1.0}
        self.learner.answered(Answered(model=model, **{"threads": 2, "is_alone": True, **fields, **changes}))

    def only(self) -> Measurement:
        (measurement,) = self.learner.latest()
        return measurement


def test_loads_and_answers_of_one_model_go_into_one_measurement() -> None:
    bench = Bench()
    bench.load()
    bench.answer(peak_bytes=900)
    known = bench.only()
    assert (known.model_id, known.content, known.threads, known.measured_s) == ("a:1", "one", 2, 1000.0)
    assert (known.loads, known.load_s, known.resident_bytes, known.context_tokens) == (1, 2.0, 500, 1024)
    assert (known.answers, known.tokens_per_second, known.ttft_s, known.peak_bytes) == (1, 10.0, 1.0, 900)
    assert bench.learner.measurements() == (known,)


def test_models_content_and_threads_are_kept_apart() -> None:
    bench = Bench()
    bench.answer()
    bench.answer(decode_s=2.0, threads=8)
    bench.answer(replace(A, content="changed"), decode_s=4.0)
    bench.answer(B, decode_s=8.0)
    speeds = [each.tokens_per_second for each in bench.learner.measurements()]
    assert speeds == [10.0, 5.0, 2.5, 1.25]


def test_what_was_known_before_is_built_upon() -> None:
    first = Bench()
    for _ in range(4):
        first.answer()
    second = Bench(first.learner.latest())
    second.answer(decode_s=2.0)
    assert second.only().answers == 5
    assert second.only().tokens_per_second == pytest.approx(9.0)


def test_published_figures_stay_the_same_object_until_one_has_moved_noticeably() -> None:
    bench = Bench()
    for _ in range(5):
        bench.answer()
    published = bench.learner.measurements()
    bench.answer(decode_s=1.02)
    assert bench.learner.measurements() is published
    assert bench.only().answers == 6
    assert bench.only().tokens_per_second != published[0].tokens_per_second
    bench.answer(decode_s=0.5)
    assert bench.learner.measurements() is not published
    assert bench.learner.measurements() == bench.learner.latest()


def test_a_slow_drift_is_published_too() -> None:
    bench = Bench()
    for _ in range(40):
        bench.answer()
    decode_s = 1.0
    for _ in range(60):
        decode_s *= 1.01
        bench.answer(decode_s=decode_s)
        (published,) = bench.learner.measurements()
        exact = bench.only().tokens_per_second
        assert published.tokens_per_second is not None
        assert exact == pytest.approx(published.tokens_per_second, rel=NOTICEABLE * 1.01)
    assert bench.learner.measurements()[0].tokens_per_second == pytest.approx(5.7, rel=0.1)


def test_what_makes_a_difference_to_a_choice_is_noticeable() -> None:
    before = replace(nothing_measured(A, threads=2), answers=3, tokens_per_second=10.0, context_tokens=1024)
    for same in (before, replace(before, tokens_per_second=10.4, answers=5), replace(before, measured_s=9, loads=7)):
        assert not is_noticeable(before, same)
    for other in ({"tokens_per_second": 9.0}, {"answers": 6}, {"resident_bytes": 5}, {"context_tokens": 2048}):
        assert is_noticeable(before, replace(before, **other))


def test_what_is_new_is_written_once() -> None:
    bench = Bench()
    bench.learner.write()
    assert bench.notebook.pages == []
    bench.answer()
    bench.answer()
    bench.answer(B)
    bench.learner.write()
    bench.learner.write()
    (page,) = bench.notebook.pages
    assert [(each.model_id, each.answers) for each in page] == [("a:1", 2), ("b:1", 1)]


def test_what_cannot_be_written_is_said_once_and_kept_for_later(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.notebook.error = OSError("disk full")
    bench.answer()
    bench.answer(B)
    bench.learner.write()
    bench.answer()
    bench.learner.write()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "disk full" in caplog.text
    bench.notebook.error = None
    bench.learner.write()
    (page,) = bench.notebook.pages
    assert {each.model_id: each.answers for each in page} == {"a:1": 2, "b:1": 1}


@on_loop
async def test_writing_goes_on_beside_the_event_loop_and_a_failure_does_not_end_it() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.learner.run(every_s=0))
    bench.answer()
    for error in (OSError("disk full"), None):
        bench.notebook.error = error
        bench.notebook.tried.clear()
        assert await asyncio.to_thread(bench.notebook.tried.wait, 10)
    bench.answer()
    while bench.learner.latest() not in bench.notebook.pages:  # noqa: ASYNC110 - a thread writes
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_last_write_waits_for_one_that_is_still_going_on() -> None:
    entered, may_go_on = threading.Event(), threading.Event()
    pages: list[int] = []

    def record(measurements: Iterable[Measurement]) -> None:
        answers = [each.answers for each in measurements]
        if not pages:
            pages.append(0)
            entered.set()
            may_go_on.wait(10)
        pages.extend(answers)

    learner = Learner(record, ())
    answered = Answered(
        model=A, threads=2, prompt_tokens=100, completion_tokens=11, ttft_s=1.0, decode_s=1.0, is_alone=True
    )
    learner.answered(answered)
    slow = threading.Thread(target=learner.write)
    slow.start()
    assert entered.wait(10)
    learner.answered(answered)
    last = threading.Thread(target=learner.write)
    last.start()
    may_go_on.set()
    slow.join(10)
    last.join(10)
    assert pages == [0, 1, 2]


def test_a_model_that_is_gone_or_has_changed_is_forgotten() -> None:
    bench = Bench()
    bench.answer()
    bench.answer(B)
    before = bench.learner.measurements()
    bench.learner.follow([A, B], before)
    assert bench.learner.measurements() is before
    bench.learner.follow([replace(A, content="changed"), B], ())
    assert [each.model_id for each in bench.learner.measurements()] == ["b:1"]
    bench.learner.follow([], ())
    assert bench.learner.measurements() == ()


def test_what_the_registry_knows_of_a_model_that_came_is_taken_over_and_no_more_than_that() -> None:
    old = Bench()
    old.answer()
    bench = Bench()
    bench.learner.follow([A], old.learner.latest())
    assert bench.learner.measurements() == old.learner.latest()
    bench.answer()
    bench.learner.follow([A], old.learner.latest())
    assert bench.only().answers == 2


def test_what_a_damaged_registry_has_lost_is_written_again() -> None:
    bench = Bench()
    bench.answer()
    bench.learner.write()
    bench.learner.follow([A], bench.notebook.pages[0])
    bench.learner.write()
    assert len(bench.notebook.pages) == 1
    bench.learner.follow([A], ())
    bench.learner.write()
    assert bench.notebook.pages[1] == bench.notebook.pages[0]


def test_running_out_of_memory_is_a_setback_until_a_load_works() -> None:
    bench = Bench()
    bench.learner.ran_out_of_memory(A, 900)
    bench.clock.now_s = 20
    (setback,) = bench.learner.setbacks()
    assert (setback.model_id, setback.device, setback.need_bytes) == ("a:1", A.device, 900)
    assert setback.seconds_left == pytest.approx(40)
    bench.load()
    assert bench.learner.setbacks() == ()


def test_a_setback_goes_with_its_model() -> None:
    bench = Bench()
    bench.learner.ran_out_of_memory(A, 900)
    bench.learner.follow([A], ())
    assert len(bench.learner.setbacks()) == 1
    bench.learner.follow([B], ())
    assert bench.learner.setbacks() == ()


def test_a_clock_that_is_set_changes_neither_what_is_left_alone_nor_for_how_long() -> None:
    time_of_day, clock = FakeClock(), FakeClock()
    learner = Learner(lambda _measured: None, (), clock=clock, now=time_of_day)
    learner.ran_out_of_memory(a_model("m"), 1000)
    for jump_s in (-1e9, 0.0, 4e9):
        time_of_day.now_s = jump_s
        assert [setback.seconds_left for setback in learner.setbacks()] == [60.0]
    clock.now_s = 61.0
    assert learner.setbacks() == ()
