"""What time brings about: keep-alive, pressure, deadlines, abandoned loads, successors, shared cores."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from daemon.pool.failures import FailureKind
from daemon.pool.housekeeping import RELOAD_IDLE_S
from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Generate
from daemon.pool.sessions import MAX_LOAD_BACKOFF_S
from daemon.pool.timing import ABANDONED_AFTER_S, SPARED_UNDER_PRESSURE_S, TO_SHARE_S, TO_SPIN_S
from registry.errors import (
    AnswerTimedOut,
    DaemonStopping,
    LoadFailed,
    ModelUnloaded,
    OutOfBudget,
    Overloaded,
    TooBusy,
    WorkerDied,
)
from registry.model import Device, Model, Task
from tests.daemon.pool.bench import PLAN, Bench
from tests.fakes import FakeLauncher, a_model, on_loop

A, B, C = a_model("a"), a_model("b"), a_model("c")
CORES = ((0,), (1,), (2,), (3,))


def keeping(seconds: float | None) -> LoadPlan:
    return replace(PLAN, keep_alive_s=seconds)


async def later(bench: Bench, seconds: float) -> None:
    """Let time pass, and what comes of it happen."""
    bench.clock.now_s += seconds
    bench.pool.tick()
    for _ in range(20):
        await asyncio.sleep(0)


# -- keep-alive


@on_loop
async def test_an_idle_model_goes_when_its_time_is_over_and_not_before() -> None:
    bench = Bench(FakeLauncher())
    await bench.use(A, keeping(60))
    await later(bench, 59)
    assert bench.states() == {"a:1": "ready"}
    assert bench.pool.snapshot()[0].expires_s == pytest.approx(1)
    await later(bench, 1)
    assert bench.states() == {}
    assert bench.launcher.resident == {}


@on_loop
async def test_each_request_says_anew_how_long_its_model_stays() -> None:
    bench = Bench(FakeLauncher())
    await bench.use(A, keeping(60))
    await bench.use(A, keeping(None))
    await later(bench, 10_000)
    assert bench.states() == {"a:1": "ready"}
    assert bench.pool.snapshot()[0].expires_s is None
    await bench.use(A, keeping(0))
    await bench.until({})


@on_loop
async def test_a_model_that_is_not_to_stay_answers_those_who_wait_first() -> None:
    bench = Bench(FakeLauncher(loads_at_once=False))
    first, second = asyncio.create_task(bench.use(A, keeping(0))), asyncio.create_task(bench.use(A, keeping(0)))
    (await bench.worker()).may_load.set()
    await asyncio.gather(first, second)
    await bench.until({})
    assert len(bench.launcher.workers) == 1


@on_loop
async def test_a_model_in_use_does_not_expire() -> None:
    bench = Bench(FakeLauncher())
    async with bench.pool.lease(A, keeping(5)):
        await later(bench, 100)
        assert bench.states() == {"a:1": "ready"}
    await later(bench, 4)
    assert bench.states() == {"a:1": "ready"}
    await later(bench, 1)
    assert bench.states() == {}


@on_loop
async def test_a_kept_model_stays_whatever_happens_until_it_is_unloaded_by_name() -> None:
    bench = Bench(FakeLauncher(total_bytes=1500))
    await bench.pool.load(A, keeping(1), is_kept=True)
    await later(bench, 1000)
    with pytest.raises(OutOfBudget, match="kept loaded: a:1"):
        await bench.use(B)
    bench.launcher.total_bytes = 900  # under pressure too
    await later(bench, 1000)
    assert bench.states() == {"a:1": "ready"}
    assert await bench.pool.unload("a:1") is True


# -- pressure


@on_loop
async def test_idle_models_are_given_up_where_other_programs_take_the_memory() -> None:
    bench = Bench(FakeLauncher(total_bytes=5000))
    for model in (A, B, C):
        await bench.use(model)
    bench.launcher.total_bytes = 2800  # 200 bytes of what was to be left to everything else are gone
    await later(bench, SPARED_UNDER_PRESSURE_S - 3)  # a:1 was used two seconds before c:1
    assert len(bench.states()) == 3
    await later(bench, 1)
    assert bench.states() == {"b:1": "ready", "c:1": "ready"}
    await later(bench, 1)
    assert bench.states() == {"b:1": "ready", "c:1": "ready"}  # not more than needed
    await bench.pool.close()


@on_loop
async def test_busy_models_are_left_alone_under_pressure() -> None:
    bench = Bench(FakeLauncher(total_bytes=3000))
    async with bench.pool.lease(A, PLAN):
        bench.launcher.total_bytes = 500
        await later(bench, 100)
        assert bench.states() == {"a:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_what_a_session_has_not_taken_yet_is_not_given_to_another() -> None:
    bench = Bench(FakeLauncher(total_bytes=4000))
    grows = replace(PLAN, need_bytes=3500)
    async with bench.pool.lease(A, grows):
        waiting = asyncio.create_task(bench.use(B))
        await bench.until({"a:1": "draining"})  # 3,000 bytes are free, but a:1 may take 2,500 of them
        assert len(bench.launcher.workers) == 1
    await waiting
    await bench.pool.close()


@on_loop
async def test_what_a_model_needs_on_its_accelerator_is_not_promised_in_memory() -> None:
    bench = Bench(FakeLauncher(total_bytes=4000))
    async with bench.pool.lease(replace(A, device=Device.GPU), replace(PLAN, need_bytes=3500)):
        await bench.use(B)
        assert bench.states() == {"a:1": "ready", "b:1": "ready"}
    await bench.pool.close()


# -- deadlines


@on_loop
async def test_a_busy_victim_is_cut_off_when_its_time_to_finish_is_over() -> None:
    bench = Bench(FakeLauncher(total_bytes=1500), evict_timeout_s=30)
    async with bench.pool.lease(A, PLAN):
        waiting = asyncio.create_task(bench.use(B))
        await bench.until({"a:1": "draining"})
        await later(bench, 29)
        assert bench.states() == {"a:1": "draining"}
        await later(bench, 1)
        await waiting
        assert bench.launcher.workers[0].was_stopped_at_once
    await bench.until({"b:1": "ready"})
    await bench.pool.close()


@on_loop
async def test_unloading_at_once_cuts_off_answers_and_says_why() -> None:
    bench = Bench(FakeLauncher())
    async with bench.pool.lease(A, PLAN) as lease:
        assert await bench.pool.unload("a:1", at_once=True) is True
        with pytest.raises(ModelUnloaded, match="a:1 was unloaded at once"):
            async for _event in lease.generate(Generate(request_id="1", messages=[])):
                pass
    await bench.until({})


@on_loop
async def test_a_request_waits_no_longer_than_it_said() -> None:
    bench = Bench(FakeLauncher(loads_at_once=False))

    async def in_a_hurry() -> None:
        async with bench.pool.lease(A, PLAN, within_s=0.002):
            pass

    with pytest.raises(AnswerTimedOut, match=r"0\.002 s that the request has"):
        await in_a_hurry()
    await bench.pool.close()


# -- loads that nobody waits for


@on_loop
async def test_a_load_that_nobody_waits_for_any_more_goes_on_for_a_moment_and_is_dropped_then() -> None:
    bench = Bench(FakeLauncher(loads_at_once=False))
    leaving = asyncio.create_task(bench.use(A))
    await bench.worker()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await later(bench, 0)
    await later(bench, ABANDONED_AFTER_S - 1)
    assert bench.states() == {"a:1": "loading"}
    await later(bench, 1)
    assert bench.states() == {}


@on_loop
async def test_who_comes_back_in_time_finds_the_load_where_it_was() -> None:
    bench = Bench(FakeLauncher(loads_at_once=False))
    leaving = asyncio.create_task(bench.use(A))
    worker = await bench.worker()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await later(bench, 0)
    back = asyncio.create_task(bench.use(A))
    await asyncio.sleep(0)
    await later(bench, ABANDONED_AFTER_S + 1)
    worker.may_load.set()
    await back
    assert len(bench.launcher.workers) == 1
    await bench.pool.close()


@on_loop
async def test_a_load_that_nobody_waits_for_gives_way_at_once_to_one_that_needs_its_memory() -> None:
    bench = Bench(FakeLauncher(total_bytes=1500, loads_at_once=False))
    leaving = asyncio.create_task(bench.use(A))
    await bench.worker()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    bench.launcher.loads_at_once = True
    await bench.use(B)
    assert bench.states() == {"b:1": "ready"}
    await bench.pool.close()


# -- queues


@on_loop
async def test_all_queues_together_are_bounded() -> None:
    bench = Bench(FakeLauncher(loads_at_once=False), max_queue_total=3)
    waiting = [asyncio.create_task(bench.use(model)) for model in (A, A, B)]
    await bench.until({"a:1": "loading", "b:1": "loading"})
    with pytest.raises(TooBusy, match="max_queue_total is 3") as caught:
        await bench.use(C)
    assert caught.value.retry_after_s is not None
    for index in range(2):
        (await bench.worker(index)).may_load.set()
    await asyncio.gather(*waiting)
    await bench.pool.close()


@pytest.mark.parametrize(("limits", "error"), [({"max_queue": 2}, Overloaded), ({"max_queue_total": 2}, TooBusy)])
@on_loop
async def test_who_has_no_place_can_be_refused_before_asking_for_one(
    limits: dict[str, Any], error: type[Exception]
) -> None:
    bench = Bench(FakeLauncher(), **limits)
    async with bench.pool.lease(A, PLAN):
        assert not bench.pool.is_crowded
        bench.pool.refuse_if_full(A)
        async with bench.pool.lease(A, PLAN):
            assert bench.pool.is_crowded
            with pytest.raises(error):
                bench.pool.refuse_if_full(A)
    assert not bench.pool.is_crowded
    await bench.pool.close()


@on_loop
async def test_a_model_beside_a_full_one_has_a_place() -> None:
    bench = Bench(FakeLauncher(), max_queue=1)
    async with bench.pool.lease(A, PLAN):
        assert bench.pool.is_crowded
        bench.pool.refuse_if_full(B)
    await bench.pool.close()


@on_loop
async def test_while_it_stops_nobody_is_told_to_try_again() -> None:
    bench = Bench(FakeLauncher(), max_queue=1)
    async with bench.pool.lease(A, PLAN):
        closing = asyncio.create_task(bench.pool.close())
        await asyncio.sleep(0)
        bench.pool.refuse_if_full(A)
        with pytest.raises(DaemonStopping):
            await bench.use(A)
    await closing


@pytest.mark.parametrize(("answer_s", "retry_s"), [(8.0, 4.0), (0.1, 1.0)])
@on_loop
async def test_when_to_try_again_follows_from_how_long_answers_took(answer_s: float, retry_s: float) -> None:
    bench = Bench(FakeLauncher(), max_queue=2)
    async with bench.pool.lease(A, PLAN):
        bench.clock.now_s += answer_s
    async with bench.pool.lease(A, PLAN), bench.pool.lease(A, PLAN):
        with pytest.raises(Overloaded) as caught:
            await bench.use(A)
    assert caught.value.retry_after_s == pytest.approx(retry_s)
    await bench.pool.close()


@on_loop
async def test_a_model_that_is_waited_for_is_shown_before_it_is_loaded() -> None:
    bench = Bench(FakeLauncher(total_bytes=1500))
    async with bench.pool.lease(A, PLAN):
        waiting = asyncio.create_task(bench.use(B))
        await bench.until({"a:1": "draining"})
        shown = {s.model_id: (str(s.state), s.queued) for s in bench.pool.snapshot()}
        assert shown == {"a:1": ("draining", 0), "b:1": ("unloaded", 1)}
    await waiting
    await bench.pool.close()


# -- failures


@on_loop
async def test_a_model_that_fails_again_and_again_is_tried_less_and_less_often() -> None:
    bench = Bench(FakeLauncher(), failed_retry_s=15)
    bench.launcher.start_error = OSError("no such file")
    waits = []
    for _ in range(9):
        with pytest.raises(LoadFailed) as caught:
            await bench.use(A)
        assert caught.value.retry_after_s is not None
        waits.append(caught.value.retry_after_s)
        bench.clock.now_s += caught.value.retry_after_s
    assert waits == [15, 30, 60, 120, 240, 480, 960, MAX_LOAD_BACKOFF_S, MAX_LOAD_BACKOFF_S]
    bench.launcher.start_error = None
    await bench.use(A)
    await bench.pool.unload("a:1")
    bench.launcher.start_error = OSError("no such file")
    with pytest.raises(LoadFailed) as caught:
        await bench.use(A)
    assert caught.value.retry_after_s == 15  # it has worked since
    await bench.pool.close()


@on_loop
async def test_a_failure_says_of_which_kind_it_was_and_when_it_is_tried_again() -> None:
    bench = Bench(FakeLauncher(loads_at_once=False))
    loading = asyncio.create_task(bench.use(A))
    worker = await bench.worker()
    worker.load_error, worker.load_error_kind = "bad alloc", FailureKind.OUT_OF_MEMORY
    worker.may_load.set()
    with pytest.raises(LoadFailed):
        await loading
    (shown,) = bench.pool.snapshot()
    assert (shown.failure, shown.failure_kind, shown.retry_s) == ("bad alloc", "out_of_memory", 15.0)
    await bench.pool.close()


# -- successors, and who spins


def spins(bench: Bench) -> list[bool]:
    return [worker.loaded.is_spinning for worker in bench.launcher.workers if worker.loaded is not None]


@on_loop
async def test_what_a_load_found_of_the_batched_engine_holds_for_the_successor() -> None:
    bench = Bench(FakeLauncher())
    bench.launcher.is_proven = True
    await bench.use(A)
    await bench.use(B)
    async with bench.pool.lease(A, PLAN):
        await later(bench, 0)
        await later(bench, TO_SHARE_S)
        successor = (await bench.worker(2)).loaded
    assert successor is not None
    assert (successor.path, successor.is_proven) == (str(A.path), True)
    await bench.pool.close()


@on_loop
async def test_one_model_alone_spins_and_those_that_join_it_do_not() -> None:
    bench = Bench(FakeLauncher())
    await bench.use(A)
    await bench.use(B)
    assert spins(bench) == [True, False]
    await bench.pool.close()


@on_loop
async def test_a_spinning_model_that_got_company_is_loaded_anew_beside_itself_and_no_answer_is_lost() -> None:
    bench = Bench(FakeLauncher(loads_at_once=True))
    await bench.pool.load(A, keeping(77), is_kept=True)
    await bench.use(B)
    async with bench.pool.lease(A, keeping(77)) as lease:
        await later(bench, 0)
        bench.launcher.loads_at_once = False
        await later(bench, TO_SHARE_S)
        successor = await bench.worker(2)
        assert bench.pool.is_ready("a:1")
        successor.may_load.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.pool.snapshot()[-2].pid == successor.pid
        events = [event async for event in lease.generate(Generate(request_id="1", messages=[]))]
        assert len(events) == 3
        assert sorted(bench.launcher.resident) == [1, 2, 3]
    for _ in range(20):
        await asyncio.sleep(0)
    assert sorted(bench.launcher.resident) == [2, 3]
    assert spins(bench) == [True, False, False]
    assert [(shown.is_kept, shown.pid) for shown in bench.pool.snapshot()] == [(True, 3), (False, 2)]
    await bench.pool.close()


@on_loop
async def test_a_successor_that_fails_leaves_the_one_that_serves_alone() -> None:
    bench = Bench(FakeLauncher())
    await bench.use(A)
    await bench.use(B)
    await later(bench, 0)
    bench.launcher.start_error = OSError("no processes left")
    await later(bench, TO_SHARE_S)
    await bench.until({"a:1": "ready", "b:1": "ready"})
    await bench.use(A)
    await bench.pool.close()


@on_loop
async def test_where_memory_does_not_allow_both_a_model_is_loaded_anew_only_when_it_is_idle() -> None:
    bench = Bench(FakeLauncher(total_bytes=2500))
    await bench.pool.load(A, PLAN, is_kept=True)
    await bench.use(B)
    async with bench.pool.lease(A, PLAN):
        await later(bench, 0)
        await later(bench, 10 * RELOAD_IDLE_S)
        assert len(bench.launcher.workers) == 2
    await later(bench, RELOAD_IDLE_S - 1)
    assert len(bench.launcher.workers) == 2
    await later(bench, TO_SHARE_S)
    await bench.until({"a:1": "ready", "b:1": "ready"})
    assert (spins(bench), bench.pool.snapshot()[0].is_kept) == ([True, False, False], True)
    assert bench.pool.snapshot()[0].active == 0
    await bench.pool.close()


@on_loop
async def test_a_successor_gives_way_to_a_load_that_somebody_waits_for() -> None:
    bench = Bench(FakeLauncher(total_bytes=3500))
    await bench.use(A)
    await bench.use(B)
    await later(bench, 0)
    bench.launcher.loads_at_once = False
    await later(bench, TO_SHARE_S)
    await bench.worker(2)
    bench.launcher.loads_at_once = True
    await bench.use(C)
    assert bench.states() == {"a:1": "ready", "b:1": "ready", "c:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_a_model_that_is_alone_for_long_spins_again() -> None:
    bench = Bench(FakeLauncher())
    await bench.use(A)
    await bench.use(B, keeping(None))
    await bench.pool.unload("a:1")
    await later(bench, 0)
    await later(bench, TO_SPIN_S - 1)
    assert spins(bench) == [True, False]
    await later(bench, 1)
    assert spins(bench) == [True, False, True]
    await bench.pool.close()


@on_loop
async def test_models_that_answer_at_the_same_time_have_cores_of_their_own() -> None:
    bench = Bench(FakeLauncher())
    bench.pool.share_cores(CORES)
    await bench.use(C)
    await bench.use(A)
    await bench.use(B)
    first, second = bench.launcher.workers[1], bench.launcher.workers[2]
    async with bench.pool.lease(A, PLAN):
        assert (first.cores, second.cores) == ((), ())
        async with bench.pool.lease(B, PLAN):
            assert (first.cores, second.cores) == ((0, 1), (2, 3))
        assert (first.cores, second.cores) == ((), ())
    await bench.pool.close()


@on_loop
async def test_a_load_beside_a_running_answer_keeps_to_a_few_cores() -> None:
    bench = Bench(FakeLauncher())
    bench.pool.share_cores(CORES)
    async with bench.pool.lease(A, PLAN):
        await bench.use(B)
    told = [worker.loaded.cores for worker in bench.launcher.workers if worker.loaded is not None]
    assert told == [[], [3]]
    await bench.pool.close()


# -- warm


@on_loop
async def test_a_load_in_the_background_evicts_only_what_is_idle_and_not_warm() -> None:
    bench = Bench(FakeLauncher(total_bytes=2500))
    await bench.use(A)
    await bench.use(B)
    bench.pool.set_warm({"a:1": (Task.CHAT,)})
    async with bench.pool.lease(B, PLAN):
        with pytest.raises(OutOfBudget):
            await bench.pool.warm(C, PLAN)
        assert bench.states() == {"a:1": "ready", "b:1": "ready"}
    await bench.pool.warm(C, PLAN)
    assert bench.states() == {"a:1": "ready", "c:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_a_load_in_the_background_may_take_the_place_of_the_model_that_it_replaces() -> None:
    bench = Bench(FakeLauncher(total_bytes=1500))
    await bench.use(A)
    bench.pool.set_warm({"a:1": (Task.CHAT,)})
    async with bench.pool.lease(A, PLAN):
        coming = asyncio.create_task(bench.pool.warm(B, PLAN, may_replace=frozenset({"a:1"})))
        await bench.until({"a:1": "draining"})
        assert not coming.done()
    await coming
    assert bench.states() == {"b:1": "ready"}
    await bench.pool.close()


@on_loop
async def test_somebody_who_waits_comes_before_a_load_in_the_background() -> None:
    bench = Bench(FakeLauncher(total_bytes=1500))
    async with bench.pool.lease(A, PLAN):
        background = asyncio.create_task(bench.pool.warm(B, PLAN, may_replace=frozenset({"a:1"})))
        await bench.until({"a:1": "draining"})
        asked = asyncio.create_task(bench.use(C))
        await asyncio.sleep(0)
    await asked
    assert bench.launcher.workers[1].loaded is not None
    assert bench.launcher.workers[1].loaded.path == str(C.path)
    await asyncio.gather(background, return_exceptions=True)
    await bench.pool.close()


@on_loop
async def test_a_warm_model_does_not_expire_and_a_model_that_was_one_does() -> None:
    bench = Bench(FakeLauncher())
    await bench.pool.warm(A, keeping(10))
    bench.pool.set_warm({"a:1": (Task.CHAT, Task.CODE)})
    await later(bench, 100)
    assert bench.pool.snapshot()[0].warm_for == (Task.CHAT, Task.CODE)
    bench.pool.set_warm({})
    await later(bench, 0)
    await bench.until({})


@on_loop
async def test_what_was_unloaded_by_name_is_dismissed_until_somebody_asks_for_it() -> None:
    bench = Bench(FakeLauncher())
    await bench.pool.warm(A, PLAN)
    await bench.pool.unload("a:1")
    assert bench.pool.is_dismissed("a:1")
    await bench.use(A)
    assert not bench.pool.is_dismissed("a:1")
    await bench.pool.close()


@on_loop
async def test_a_request_to_a_worker_that_died_is_told_so() -> None:
    bench = Bench(FakeLauncher())
    async with bench.pool.lease(A, PLAN) as lease:
        bench.launcher.workers[0].die()
        with pytest.raises(WorkerDied):
            async for _event in lease.generate(Generate(request_id="1", messages=[])):
                pass
    await bench.pool.close()


# -- settings that change meanwhile


@on_loop
async def test_idle_models_stay_as_long_as_the_settings_say_by_now_unless_a_request_timed_them() -> None:
    bench = Bench(FakeLauncher())
    await bench.use(A, replace(keeping(None), timed_for=Task.CODE))
    await bench.use(B, keeping(None).stays_for(None))
    asked: list[tuple[str, Task | None]] = []

    def keep_alive_s(model: Model, task: Task | None) -> float:
        asked.append((model.name, task))
        return 60.0

    bench.pool.retime(keep_alive_s)
    assert asked == [("a", Task.CODE)]
    await later(bench, 61)
    assert bench.states() == {"b:1": "ready"}
    await bench.use(B, keeping(None))
    bench.pool.retime(keep_alive_s)
    await later(bench, 61)
    assert bench.states() == {}


@on_loop
async def test_limits_that_change_count_from_then_on_and_loaded_models_keep_what_they_were_loaded_with() -> None:
    bench = Bench(FakeLauncher(loads_at_once=False), max_queue=2, max_concurrent=2)
    waiting = [asyncio.create_task(bench.use(A)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="max_queue is 2"):
        await bench.use(A)
    first = await bench.worker()
    assert first.loaded is not None
    assert first.loaded.max_concurrent == 2
    bench.limits = replace(bench.limits, max_queue=3, max_concurrent=1, budget_bytes=PLAN.need_bytes)
    more = asyncio.create_task(bench.use(A))
    first.may_load.set()
    await asyncio.gather(*waiting, more)
    async with bench.pool.lease(A, PLAN), bench.pool.lease(A, PLAN):
        (snapshot,) = bench.pool.snapshot()
        assert (snapshot.active, snapshot.queued) == (2, 0)
    other = asyncio.create_task(bench.use(B))
    second = await bench.worker(1)
    second.may_load.set()
    await other
    assert second.loaded is not None
    assert second.loaded.max_concurrent == 1
    assert bench.states() == {"b:1": "ready"}  # both would be more than the budget
