"""Tuning a model through the pool, with workers whose speed the test decides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from daemon.catalog import Catalog
from daemon.endpoints import Endpoint
from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Failed, Load, Measure, Measured
from daemon.resolving import Resolved
from daemon.tuner import Report, Tuner
from daemon.tunings import Tunings
from registry.errors import GenerationFailed, InvalidRequest, Overloaded
from registry.experience import Tuning
from registry.model import Device, Model
from selector.hardware import Cpu, Hardware
from tests.daemon.pool.bench import Bench
from tests.fakes import FakeLauncher, a_model, on_loop

A, B = a_model("a", content="ca"), a_model("b", content="cb")
PLAN = LoadPlan(context_tokens=8192, threads=4, need_bytes=1000)


class OneModel:
    """A catalog."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.planned = PLAN

    def resolve(self, _reference: str, *, serves: Endpoint) -> Resolved:
        return Resolved(self.model, self.planned)

    def plan(self, _model: Model) -> LoadPlan:
        return self.planned

    def get(self, _reference: str) -> Model:
        return self.model

    def hardware(self) -> Hardware:
        return cast(Hardware, _Machine())


class _Machine:
    cpu = Cpu("A processor", 4, 4, 4)


class Books:
    """What is remembered."""

    machine, runtime = "A processor, 4 cores", "1.0"

    def __init__(self, catalog: OneModel) -> None:
        self.catalog = catalog
        self.written: list[Tuning] = []

    def record(self, tuning: Tuning) -> None:
        self.written.append(tuning)
        self.catalog.planned = replace(PLAN, threads=tuning.threads)

    def forget(self, _model: Model) -> bool:
        was_there, self.written = bool(self.written), []
        return was_there


class Desk:
    def __init__(self, model: Model = A, *, within_s: float = 60.0) -> None:
        self.launcher = FakeLauncher()
        self.launcher.engine = "batched"
        self.launcher.is_proven = True
        self.launcher.measure = self.measure
        self.bench = Bench(self.launcher)
        self.catalog = OneModel(model)
        self.books = Books(self.catalog)
        self.asked: list[tuple[int, int, int]] = []
        self.call_s = 0.0
        self.begun = asyncio.Event()
        self.tuner = Tuner(
            cast(Catalog, self.catalog),
            self.bench.pool,
            cast(Tunings, self.books),
            within_s=lambda: within_s,
            clock=self.bench.clock,
            now=lambda: 9.0,
        )

    def measure(self, load: Load, measure: Measure) -> Measured | Failed:
        """Three threads are best; rows beyond eight bring nothing, and pieces beyond 64 tokens neither."""
        self.begun.set()
        self.asked.append((load.threads, measure.rows, measure.tokens))
        self.bench.clock.now_s += self.call_s
        seconds = {4: 0.02, 3: 0.01, 2: 0.03}[load.threads]
        if measure.tokens > 1:
            return Measured(measure.request_id, [seconds * max(1.0, measure.tokens / 64)] * measure.calls)
        return Measured(measure.request_id, [seconds * max(1.0, measure.rows / 8)] * measure.calls)

    async def tune(self) -> Report:
        return await self.tuner.tune("a")


@on_loop
async def test_what_is_best_is_written_down_and_the_process_goes() -> None:
    desk = Desk()
    report = await desk.tune()
    expected = Tuning(
        model_id=A.id,
        content="ca",
        runtime="1.0",
        machine="A processor, 4 cores",
        threads=3,
        prefill_chunk_tokens=64,
        max_concurrent=8,
        tuned_s=9.0,
    )
    assert (report.tuning, desk.books.written) == (expected, [expected])
    assert [trial.threads for trial in report.trials] == [4, 3, 2]
    assert desk.bench.states() == {}
    loads = [worker.loaded for worker in desk.launcher.workers]
    # The usual is measured once more, for it may have been disturbed.
    assert [(load.threads, load.max_concurrent) for load in loads if load] == [(4, 16), (3, 16), (2, 16), (4, 16)]


@on_loop
async def test_what_only_disturbed_the_usual_does_not_win() -> None:
    desk = Desk()
    calm = desk.measure

    def disturbed_at_first(load: Load, measure: Measure) -> Measured | Failed:
        measured = calm(load, measure)
        assert isinstance(measured, Measured)
        factor = {4: 5.0 if len(desk.launcher.workers) == 1 else 0.4}.get(load.threads, 1.0)
        return Measured(measured.request_id, [factor * seconds for seconds in measured.call_s])

    desk.launcher.measure = disturbed_at_first
    assert (await desk.tune()).tuning.threads == 4


@on_loop
async def test_a_model_that_was_loaded_is_loaded_again_as_it_runs_best_and_stays_if_it_was_to_stay() -> None:
    desk = Desk()
    await desk.bench.pool.load(A, PLAN, is_kept=True)
    await desk.tune()
    (session,) = desk.bench.pool.snapshot()
    assert (str(session.state), session.threads, session.is_kept) == ("ready", 3, True)
    await desk.bench.pool.close()


@on_loop
async def test_nothing_is_measured_while_anything_is_answered_and_the_answer_goes_on() -> None:
    desk = Desk()
    async with desk.bench.pool.lease(B, PLAN):
        with pytest.raises(Overloaded, match="b:1 is at work"):
            await desk.tune()
        assert desk.bench.states() == {"b:1": "ready"}
    await desk.bench.pool.close()


@on_loop
async def test_one_model_is_tuned_at_a_time() -> None:
    desk = Desk()
    first = asyncio.create_task(desk.tune())
    await desk.begun.wait()
    with pytest.raises(Overloaded, match="being tuned"):
        await desk.tune()
    await first


@on_loop
async def test_no_further_measurement_is_begun_when_the_time_is_over() -> None:
    desk = Desk(within_s=5.0)
    desk.call_s = 4.0
    report = await desk.tune()
    assert desk.asked == [(4, 1, 1), (4, 2, 1), (4, 1, 16)]
    assert (report.seconds, report.tuning.threads) == (12.0, 4)


@on_loop
async def test_rows_that_take_turns_are_not_measured_together() -> None:
    desk = Desk()
    desk.launcher.engine = "generator"
    report = await desk.tune()
    assert {rows for _, rows, _ in desk.asked} == {1}
    assert report.tuning.max_concurrent is None


@on_loop
async def test_pieces_are_no_longer_than_the_context_has_room_for() -> None:
    desk = Desk()
    desk.catalog.planned = replace(PLAN, context_tokens=512)
    await desk.tune()
    assert max(tokens for _, _, tokens in desk.asked) == 64


@on_loop
async def test_a_measurement_that_fails_writes_nothing_down_and_leaves_no_process() -> None:
    desk = Desk()

    def fails(_load: Load, measure: Measure) -> Any:
        return Failed(request_id=measure.request_id, code="generation_failed", message="no memory")

    desk.launcher.measure = fails
    with pytest.raises(GenerationFailed, match="no memory"):
        await desk.tune()
    assert (desk.books.written, desk.bench.states()) == ([], {})


@on_loop
async def test_a_model_of_another_device_has_nothing_to_tune() -> None:
    desk = Desk(a_model("a", device=Device.GPU))
    with pytest.raises(InvalidRequest, match="only models on the CPU"):
        await desk.tune()
    assert desk.launcher.workers == []


@on_loop
async def test_forgetting_says_whether_there_was_anything() -> None:
    desk = Desk()
    assert await desk.tuner.forget("a") == (A.id, False)
    await desk.tune()
    assert await desk.tuner.forget("a") == (A.id, True)
