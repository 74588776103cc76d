"""What the pool tells its observer, and what it does for a load that is forced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from daemon.pool.failures import FailureKind
from daemon.pool.observer import FailedLoad, Loaded
from daemon.pool.plan import LoadPlan
from daemon.pool.session import Leaving
from registry.errors import LoadFailed, OutOfBudget
from registry.model import Model
from tests.daemon.pool.bench import PLAN, Bench
from tests.fakes import FakeLauncher, a_model, on_loop

TOO_MUCH = LoadPlan(context_tokens=512, threads=2, need_bytes=5000)
A, B = a_model("a"), a_model("b")


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.loads: list[Loaded] = []
        self.short: list[tuple[str, int]] = []
        self.failures: list[FailedLoad] = []
        self.gone: list[tuple[str, Leaving]] = []

    def loaded(self, load: Loaded) -> None:
        self.loads.append(load)

    def failed(self, failure: FailedLoad) -> None:
        self.failures.append(failure)

    def unloaded(self, model: Model, reason: Leaving, why: str) -> None:
        self.gone.append((model.id, reason))
        assert why == reason or why.startswith(model.id)

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        self.short.append((model.id, need_bytes))


class Watched(Bench):
    """A bench whose pool is observed."""

    def __init__(self, launcher: FakeLauncher | None = None, **limits: Any) -> None:
        self.notes = Notes()
        super().__init__(launcher or FakeLauncher(), observer=self.notes, peak_bytes=lambda _pid: 1500, **limits)


@on_loop
async def test_a_load_that_worked_is_told_with_its_time_and_memory() -> None:
    bench = Watched(FakeLauncher(bytes_per_model=1200, loads_at_once=False))
    loading = asyncio.create_task(bench.use(A))
    worker = await bench.worker()
    assert (bench.pool.is_loading, bench.pool.loads, bench.notes.loads) == (True, 1, [])
    bench.clock.now_s += 7
    worker.may_load.set()
    await loading
    told = Loaded(model=A, threads=2, context_tokens=1024, load_s=7.0, resident_bytes=1200, peak_bytes=1500)
    assert bench.notes.loads == [told]
    assert not bench.pool.is_loading
    await bench.use(A)
    assert bench.pool.loads == 1
    await bench.pool.close()


@on_loop
async def test_what_is_known_of_the_batched_engine_is_passed_on_and_what_a_load_found_is_told() -> None:
    bench = Watched(engine="batched")
    bench.launcher.is_proven = True
    await bench.use(A, replace(PLAN, is_proven=False))
    worker = await bench.worker()
    assert worker.loaded is not None
    assert (worker.loaded.engine, worker.loaded.is_proven) == ("batched", False)
    assert [load.is_proven for load in bench.notes.loads] == [True]
    await bench.pool.close()


@pytest.mark.parametrize(
    ("kind", "told"), [(FailureKind.OUT_OF_MEMORY, [("a:1", PLAN.need_bytes)]), (FailureKind.OTHER, [])]
)
@on_loop
async def test_a_load_that_failed_is_told_only_for_lack_of_memory(
    kind: FailureKind, told: list[tuple[str, int]]
) -> None:
    bench = Watched(FakeLauncher(loads_at_once=False))
    loading = asyncio.create_task(bench.use(A))
    worker = await bench.worker()
    worker.load_error, worker.load_error_kind = "it did not work", kind
    worker.may_load.set()
    with pytest.raises(LoadFailed, match="it did not work"):
        await loading
    assert (bench.notes.short, bench.notes.loads) == (told, [])


@pytest.mark.parametrize(
    ("kind", "told"), [(FailureKind.OUT_OF_MEMORY, [("a:1", PLAN.need_bytes)]), (FailureKind.OTHER, [])]
)
@on_loop
async def test_a_death_is_told_once_and_only_for_lack_of_memory(kind: FailureKind, told: list[tuple[str, int]]) -> None:
    bench = Watched()
    async with bench.pool.lease(A, PLAN), bench.pool.lease(A, PLAN):
        bench.launcher.workers[0].die("was killed", kind)
        await bench.until({"a:1": "failed"})
    assert bench.notes.short == told


@pytest.mark.parametrize(("free", "told"), [(1100, [("a:1", PLAN.need_bytes)]), (50_000, [])])
@on_loop
async def test_a_process_that_was_killed_had_too_little_memory_only_where_memory_is_short(
    free: int, told: list[tuple[str, int]]
) -> None:
    bench = Watched(FakeLauncher(total_bytes=free))
    async with bench.pool.lease(A, PLAN):
        bench.launcher.workers[0].die("was killed by SIGKILL", FailureKind.KILLED)
        await bench.until({"a:1": "failed"})
    assert bench.notes.short == told


@on_loop
async def test_what_ends_because_the_pool_wants_it_is_no_setback() -> None:
    bench = Watched(FakeLauncher(loads_at_once=False), load_timeout_s=0.005)
    with pytest.raises(LoadFailed, match="load_timeout_s"):
        await bench.use(A)
    bench.launcher.loads_at_once = True
    await bench.use(B)
    worker = bench.launcher.workers[-1]
    unloading = asyncio.create_task(bench.pool.unload("b:1"))
    await bench.until({"a:1": "failed", "b:1": "draining"})
    worker.die("was killed by SIGKILL", FailureKind.OUT_OF_MEMORY)
    await unloading
    assert bench.notes.short == []


@on_loop
async def test_a_forced_load_evicts_what_is_idle_and_is_tried_although_it_should_not_fit() -> None:
    bench = Watched(FakeLauncher(total_bytes=2000))
    await bench.use(A)
    with pytest.raises(OutOfBudget):
        await bench.use(B, TOO_MUCH)
    assert bench.states() == {"a:1": "ready"}
    await bench.use(B, replace(TOO_MUCH, is_forced=True))
    assert bench.states() == {"b:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_a_forced_load_leaves_those_who_answer_alone() -> None:
    bench = Watched(FakeLauncher(total_bytes=2000))
    async with bench.pool.lease(A, PLAN):
        await bench.use(B, replace(TOO_MUCH, is_forced=True))
        assert bench.states() == {"a:1": "ready", "b:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_a_forced_load_that_fits_evicts_nobody() -> None:
    bench = Watched()
    await bench.use(A)
    await bench.use(B, replace(PLAN, is_forced=True))
    assert bench.states() == {"a:1": "ready", "b:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_a_forced_load_waits_for_one_that_is_on_its_way() -> None:
    bench = Watched(FakeLauncher(total_bytes=2000, loads_at_once=False))
    first = asyncio.create_task(bench.use(A))
    loading = await bench.worker()
    forced = asyncio.create_task(bench.use(B, replace(TOO_MUCH, is_forced=True)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bench.launcher.workers) == 1
    loading.may_load.set()
    await first
    (await bench.worker(1)).may_load.set()
    await forced
    assert bench.states()["b:1"] == "ready"
    await bench.pool.close()


@on_loop
async def test_why_a_session_went_is_told_once_for_each_that_went() -> None:
    bench = Watched(FakeLauncher(total_bytes=1500))
    await bench.use(A)
    await bench.use(B)
    await bench.pool.unload("b:1")
    await bench.use(A, replace(PLAN, keep_alive_s=0))
    await bench.until({})
    await bench.use(A)
    bench.pool.retire("a:1")
    await bench.until({})
    await bench.use(A)
    bench.pool.keep_only({})
    await bench.until({})
    await bench.use(A)
    await bench.pool.close()
    assert bench.notes.gone == [
        ("a:1", Leaving.EVICTED),
        ("b:1", Leaving.UNLOADED),
        ("a:1", Leaving.EXPIRED),
        ("a:1", Leaving.REPLACED),
        ("a:1", Leaving.CHANGED),
        ("a:1", Leaving.STOPPING),
    ]


@on_loop
async def test_a_session_that_had_to_go_for_other_programs_is_told_apart() -> None:
    bench = Watched()
    await bench.use(A)
    bench.launcher.total_bytes = 0
    bench.clock.now_s += 60
    bench.pool.tick()
    await bench.until({})
    assert bench.notes.gone == [("a:1", Leaving.PRESSED_OUT)]
    await bench.pool.close()
