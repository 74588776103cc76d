"""A request that needs more context than the loaded session has: the model is loaded again, and nobody is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from daemon.pool.lease import Lease
from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Generate, Load, Ready
from registry.errors import LoadFailed, Overloaded
from registry.model import Task
from tests.daemon.pool.bench import PLAN, Bench
from tests.fakes import FakeLauncher, FakeWorker, a_model, on_loop

A, B, C = a_model("a"), a_model("b"), a_model("c")
LONG = LoadPlan(context_tokens=4096, threads=2, need_bytes=1500, least_context_tokens=3000)


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def context_of(bench: Bench, plan: LoadPlan = LONG) -> int:
    async with bench.pool.lease(A, plan) as lease:
        return lease.plan.context_tokens


async def still_answers(lease: Lease) -> bool:
    return len([event async for event in lease.generate(Generate(request_id="1", messages=[]))]) == 3


def contexts(bench: Bench) -> list[int]:
    return [worker.loaded.context_tokens for worker in bench.launcher.workers if worker.loaded is not None]


@on_loop
async def test_a_longer_context_is_loaded_beside_the_session_that_answers() -> None:
    bench = Bench(FakeLauncher())
    await bench.pool.load(A, PLAN, is_kept=True)
    bench.pool.set_warm({"a:1": (Task.CHAT,)})
    bench.launcher.loads_at_once = False
    async with bench.pool.lease(A, PLAN) as running:
        asked = [asyncio.create_task(context_of(bench)) for _ in range(2)]
        successor = await bench.worker(1)
        async with bench.pool.lease(A, PLAN):
            assert bench.pool.snapshot()[-1].active == 2  # who needs no more is served meanwhile
        successor.may_load.set()
        assert await asyncio.gather(*asked) == [4096, 4096]
        assert await still_answers(running)
        assert sorted(bench.launcher.resident) == [1, 2]
    await turns()
    assert list(bench.launcher.resident) == [2]
    (shown,) = bench.pool.snapshot()
    assert (shown.is_kept, shown.warm_for, shown.context_tokens) == (True, (Task.CHAT,), 4096)
    assert await context_of(bench, PLAN) == 4096
    await bench.pool.close()


@on_loop
async def test_where_memory_does_not_allow_both_a_longer_context_waits_for_the_answers_that_run() -> None:
    bench = Bench(FakeLauncher(total_bytes=2000), evict_timeout_s=0.0)
    await bench.pool.load(A, PLAN, is_kept=True)
    async with bench.pool.lease(A, PLAN) as running:
        asked = asyncio.create_task(context_of(bench))
        await bench.until({"a:1": "draining"})
        bench.clock.now_s += 1000
        bench.pool.tick()
        await turns()
        assert await still_answers(running)
        assert not asked.done()
    assert await asked == 4096
    assert contexts(bench) == [1024, 4096]
    (shown,) = bench.pool.snapshot()
    assert (shown.is_kept, shown.active) == (True, 0)
    await bench.pool.close()


@on_loop
async def test_idle_models_give_way_to_a_longer_context_of_a_busy_one() -> None:
    bench = Bench(FakeLauncher(total_bytes=2700))
    await bench.use(B)
    await bench.use(A)
    async with bench.pool.lease(A, PLAN) as running:
        assert await context_of(bench) == 4096
        assert await still_answers(running)
    await bench.until({"a:1": "ready"})
    assert contexts(bench) == [1024, 1024, 4096]
    await bench.pool.close()


@on_loop
async def test_no_busy_or_warm_model_gives_way_to_a_longer_context_that_can_be_had_without() -> None:
    bench = Bench(FakeLauncher(total_bytes=3500))
    for model in (A, B, C):
        await bench.use(model)
    bench.pool.set_warm({"c:1": (Task.CODE,)})
    async with bench.pool.lease(B, PLAN) as other:
        async with bench.pool.lease(A, PLAN):
            asked = asyncio.create_task(context_of(bench))
            await bench.until({"a:1": "draining", "b:1": "ready", "c:1": "ready"})
        assert await asked == 4096
        assert await still_answers(other)
    assert bench.states() == {"a:1": "ready", "b:1": "ready", "c:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_a_longer_context_that_cannot_be_loaded_is_an_error_for_a_while_and_the_session_goes_on() -> None:
    bench = Bench(FakeLauncher(loads_at_once=True))
    await bench.use(A)
    bench.launcher.loads_at_once = False
    for started, waits_s in ((1, 15), (2, 30)):
        asked = asyncio.create_task(context_of(bench))
        successor = await bench.worker(started)
        successor.load_error = "damaged"
        successor.may_load.set()
        with pytest.raises(LoadFailed, match=r"a:1 is loaded with 1024 tokens of context.*damaged") as caught:
            await asked
        assert caught.value.retry_after_s == waits_s
        with pytest.raises(LoadFailed, match="damaged"):
            await context_of(bench)
        assert len(bench.launcher.workers) == started + 1
        assert await context_of(bench, PLAN) == 1024
        bench.clock.now_s += waits_s
    bench.launcher.loads_at_once = True
    assert await context_of(bench) == 4096
    await bench.pool.close()


class Limited(FakeLauncher):
    """Its models take no more context than this, whatever they are loaded for."""

    async def start(self) -> FakeWorker:
        worker = await super().start()
        load: Callable[[Load], object] = worker.load

        async def limited(message: Load) -> Ready:
            ready = await load(message)  # type: ignore[misc]
            assert isinstance(ready, Ready)
            return replace(ready, context_tokens=min(2048, ready.context_tokens))

        worker.load = limited  # type: ignore[method-assign]
        return worker


@on_loop
async def test_a_model_that_takes_no_more_is_not_loaded_again_and_again() -> None:
    bench = Bench(Limited())
    await bench.use(A)
    assert await context_of(bench) == 2048  # for the worker to refuse, with the numbers
    assert await context_of(bench) == 2048
    assert contexts(bench) == [1024, 4096]
    await bench.pool.close()


class TwoEngines(FakeLauncher):
    """Its models have an engine that takes less context, and is used unless a load says that more is needed."""

    async def start(self) -> FakeWorker:
        worker = await super().start()
        load: Callable[[Load], object] = worker.load

        async def by_need(message: Load) -> Ready:
            ready = await load(message)  # type: ignore[misc]
            assert isinstance(ready, Ready)
            is_long = message.least_context_tokens > 2048
            return ready if is_long else replace(ready, context_tokens=2048, is_longest=False)

        worker.load = by_need  # type: ignore[method-assign]
        return worker


@on_loop
async def test_a_model_whose_engine_takes_less_is_loaded_for_who_needs_more_by_the_other_one() -> None:
    bench = Bench(TwoEngines())
    assert await context_of(bench, replace(LONG, least_context_tokens=0)) == 2048
    assert await context_of(bench, replace(LONG, least_context_tokens=2048)) == 2048
    assert contexts(bench) == [4096]
    assert await context_of(bench) == 4096
    assert await context_of(bench, replace(LONG, least_context_tokens=0)) == 4096
    assert contexts(bench) == [4096, 4096]
    await bench.pool.close()


@on_loop
async def test_a_longer_context_that_is_being_loaded_is_waited_for_longer_than_a_turn() -> None:
    bench = Bench(FakeLauncher(), queue_timeout_s=0.001)
    await bench.use(A)
    bench.launcher.loads_at_once = False
    async with bench.pool.lease(A, PLAN):
        asked = asyncio.create_task(context_of(bench))
        successor = await bench.worker(1)
        await asyncio.sleep(0.005)
        successor.may_load.set()
        assert await asked == 4096
    await bench.pool.close()


@on_loop
async def test_a_wait_for_answers_that_run_on_and_on_ends_like_any_other_in_the_queue() -> None:
    bench = Bench(FakeLauncher(total_bytes=2000), queue_timeout_s=0.001)
    await bench.pool.load(A, PLAN, is_kept=True)
    async with bench.pool.lease(A, PLAN):
        with pytest.raises(Overloaded, match="queue_timeout_s"):
            await context_of(bench)
    await bench.until({"a:1": "ready"})  # it was kept, and so it is back
    assert contexts(bench) == [1024, 4096]
    await bench.pool.close()


@on_loop
async def test_a_successor_that_somebody_needs_does_not_give_way_to_another_load() -> None:
    bench = Bench(FakeLauncher(total_bytes=2700))
    await bench.use(A)
    bench.launcher.loads_at_once = False
    asked = asyncio.create_task(context_of(bench))
    successor = await bench.worker(1)
    other = asyncio.create_task(bench.use(B))
    await turns()
    assert successor.was_stopped_at_once is None
    successor.may_load.set()
    assert await asked == 4096
    (await bench.worker(2)).may_load.set()
    await other
    await bench.pool.close()


@on_loop
async def test_a_session_does_not_expire_while_somebody_waits_for_its_longer_context() -> None:
    bench = Bench(FakeLauncher())
    await bench.use(A, replace(PLAN, keep_alive_s=5.0))
    bench.launcher.loads_at_once = False
    asked = asyncio.create_task(context_of(bench))
    successor = await bench.worker(1)
    bench.clock.now_s += 100
    bench.pool.tick()
    await turns()
    successor.may_load.set()
    assert await asked == 4096
    assert len(bench.launcher.workers) == 2
    await bench.pool.close()
