from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from daemon.pool.plan import LoadPlan
from daemon.pool.protocol import Delta, Generate, Pulse
from daemon.pool.session import SessionState
from registry.errors import DaemonStopping, LoadFailed, ModelInUse, OutOfBudget, Overloaded
from registry.model import Markers, Task
from tests.daemon.pool.bench import PLAN, Bench
from tests.fakes import FakeLauncher, a_model

A, B, C = a_model("a"), a_model("b"), a_model("c")


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


def test_a_lease_loads_the_model_and_answers() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        async with bench.pool.lease(A, PLAN) as lease:
            events = [event async for event in lease.generate(Generate(request_id="1", messages=[]))]
            assert any(isinstance(event, Delta) for event in events)
            assert bench.pool.snapshot()[0].active == 1
        assert bench.states() == {"a:1": "ready"}
        loaded = bench.launcher.workers[0].loaded
        assert loaded is not None
        assert (loaded.threads, loaded.context_tokens) == (2, 1024)
        await bench.pool.close()

    run(scenario())


def test_a_worker_is_told_the_limits_of_its_steps() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(), max_itl_ms=50, draft_tokens=3, prefill_chunk_tokens=64)
        await bench.use(A)
        loaded = bench.launcher.workers[0].loaded
        assert loaded is not None
        assert (loaded.max_itl_ms, loaded.draft_tokens, loaded.prefill_chunk_tokens) == (50, 3, 64)
        await bench.pool.close()

    run(scenario())


def test_a_worker_is_told_which_native_code_it_may_run() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        await bench.use(A, replace(PLAN, allowed_libraries=("ab12",)))
        await bench.use(B)
        loaded = [worker.loaded for worker in bench.launcher.workers]
        assert [each.allowed_libraries for each in loaded if each is not None] == [["ab12"], []]
        await bench.pool.close()

    run(scenario())


def test_a_worker_is_told_the_marks_that_the_registry_knows() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        marked = a_model("c", tool_markers=Markers("<c>", "</c>"), reasoning_markers=Markers("<r>", "</r>"))
        for model in (A, marked):
            await bench.use(model)
        loaded = [worker.loaded for worker in bench.launcher.workers if worker.loaded is not None]
        assert [(each.tool_markers, each.reasoning_markers) for each in loaded] == [
            ([], []),
            (["<c>", "</c>"], ["<r>", "</r>"]),
        ]
        await bench.pool.close()

    run(scenario())


def test_many_waiters_share_one_load_and_one_leaving_does_not_abort_it() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(loads_at_once=False))
        waiting = [asyncio.create_task(bench.use(A)) for _ in range(5)]
        await bench.until({"a:1": "loading"})
        waiting[0].cancel()
        await asyncio.sleep(0)
        (await bench.worker(0)).may_load.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [None] * 4
        assert len(bench.launcher.workers) == 1
        await bench.pool.close()

    run(scenario())


def test_the_least_recently_used_idle_session_makes_room() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=2500))
        for model in (A, B, A):
            await bench.use(model)
        await bench.use(C)
        await bench.until({"a:1": "ready", "c:1": "ready"})
        await bench.pool.close()

    run(scenario())


def test_a_busy_victim_drains_and_is_never_cut_off() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=1500))
        async with bench.pool.lease(A, PLAN) as lease:
            later = asyncio.create_task(bench.use(B))
            await bench.until({"a:1": "draining"})
            assert not bench.launcher.workers[0]._ended.done()
            events = [event async for event in lease.generate(Generate(request_id="1", messages=[]))]
            assert len(events) == 3
            assert not later.done()
        await later
        await bench.until({"b:1": "ready"})
        await bench.pool.close()

    run(scenario())


def test_a_draining_session_counts_against_memory_until_its_process_is_gone() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=50_000), budget_bytes=1500)
        async with bench.pool.lease(A, PLAN):
            later = asyncio.create_task(bench.use(B))
            await bench.until({"a:1": "draining"})
            assert len(bench.launcher.workers) == 1
        await later
        assert len(bench.launcher.workers) == 2
        await bench.pool.close()

    run(scenario())


def test_loads_that_have_not_taken_their_memory_yet_are_counted() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=1500, loads_at_once=False))
        first, second = asyncio.create_task(bench.use(A)), asyncio.create_task(bench.use(B))
        await bench.until({"a:1": "loading"})
        (await bench.worker(0)).may_load.set()
        await first
        (await bench.worker(1)).may_load.set()
        await second
        await bench.pool.close()

    run(scenario())


def test_small_models_do_not_overtake_a_large_one_that_waits() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=3000))
        large = LoadPlan(1024, 2, need_bytes=2500)
        async with bench.pool.lease(A, PLAN):
            waiting_large = asyncio.create_task(bench.use(B, large))
            await bench.until({"a:1": "draining"})
            waiting_small = asyncio.create_task(bench.use(C))
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(bench.launcher.workers) == 1
        await asyncio.gather(waiting_large, waiting_small)
        assert [worker.loaded.path for worker in bench.launcher.workers if worker.loaded] == [
            str(A.path),
            str(B.path),
            str(C.path),
        ]
        await bench.pool.close()

    run(scenario())


def test_what_can_never_fit_is_refused_with_the_numbers() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=2000))
        with pytest.raises(OutOfBudget, match="a:1 needs"):
            await bench.use(A, LoadPlan(1024, 2, need_bytes=5000))
        await bench.pool.close()

    run(scenario())


def test_a_failed_load_is_told_to_all_and_remembered_for_a_while() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(loads_at_once=False))
        waiting = [asyncio.create_task(bench.use(A)) for _ in range(3)]
        await bench.until({"a:1": "loading"})
        worker = await bench.worker(0)
        worker.load_error = "model.onnx is damaged"
        worker.may_load.set()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, LoadFailed)
            assert "model.onnx is damaged" in result.message
        with pytest.raises(LoadFailed) as caught:
            await bench.use(A)
        assert caught.value.retry_after_s is not None
        assert 0 < caught.value.retry_after_s <= 15
        assert len(bench.launcher.workers) == 1
        bench.clock.now_s += 15
        bench.launcher.loads_at_once = True
        await bench.use(A)
        assert bench.states() == {"a:1": "ready"}
        await bench.pool.close()

    run(scenario())


def test_an_explicit_load_tries_again_at_once() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        bench.launcher.start_error = OSError("no processes left")
        with pytest.raises(LoadFailed, match="no processes left"):
            await bench.use(A)
        bench.launcher.start_error = None
        await bench.pool.load(A, PLAN)
        assert bench.states() == {"a:1": "ready"}
        await bench.pool.close()

    run(scenario())


def test_a_load_that_takes_too_long_has_failed() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(loads_at_once=False), load_timeout_s=0.005)
        with pytest.raises(LoadFailed, match="load_timeout_s"):
            await bench.use(A)
        await bench.pool.close()

    run(scenario())


def test_after_a_death_the_next_request_loads_afresh_and_a_model_that_keeps_dying_is_held_back() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        for _ in range(3):
            await bench.use(A)
            assert bench.states() == {"a:1": "ready"}
            bench.launcher.workers[-1].die()
            await bench.until({"a:1": "failed"})
        with pytest.raises(LoadFailed, match=r"SIGKILL \(3 times in a row\).*tried again in"):
            await bench.use(A)
        bench.clock.now_s += 61
        await bench.use(A)
        await bench.pool.close()

    run(scenario())


def test_a_death_after_a_long_good_life_is_forgiven_again() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        for _ in range(3):
            await bench.use(A)
            bench.clock.now_s += 61
            bench.launcher.workers[-1].die()
            await bench.until({"a:1": "failed"})
        await bench.use(A)
        await bench.pool.close()

    run(scenario())


def test_who_waits_for_a_slow_load_is_not_sent_away_by_the_queue_timeout() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(loads_at_once=False), queue_timeout_s=0.002)
        waiting = asyncio.create_task(bench.use(A))
        worker = await bench.worker(0)
        await asyncio.sleep(0.008)
        assert not waiting.done()
        worker.may_load.set()
        await waiting
        await bench.pool.close()

    run(scenario())


def test_a_bug_while_loading_fails_the_load_and_nothing_else() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        bench.launcher.start_error = RuntimeError("a bug")
        with pytest.raises(LoadFailed, match="a bug"):
            await bench.use(A)
        assert bench.states() == {"a:1": "failed"}
        await bench.pool.close()

    run(scenario())


def test_unload_waits_for_the_running_answer_and_is_no_error_when_nothing_is_loaded() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        assert await bench.pool.unload("a:1") is False
        async with bench.pool.lease(A, PLAN):
            unloading = asyncio.create_task(bench.pool.unload("a:1"))
            await bench.until({"a:1": "draining"})
            assert not unloading.done()
        assert await unloading is True
        assert bench.states() == {}
        assert bench.launcher.resident == {}

    run(scenario())


def test_what_somebody_uses_waits_for_or_keeps_stays_for_who_may_only_unload_what_is_unused() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(loads_at_once=False))

        async def refused(why: str) -> None:
            with pytest.raises(ModelInUse, match=why):
                await bench.pool.unload("a:1", only_unused=True)
            assert not bench.pool.is_dismissed("a:1")

        waiting = asyncio.create_task(bench.use(A))
        await bench.until({"a:1": "loading"})
        await refused("being used")
        (await bench.worker()).may_load.set()
        await waiting
        async with bench.pool.lease(A, PLAN):
            await refused("being used")
        bench.pool.set_warm({"a:1": (Task.CHAT,)})
        await refused("warm for chat")
        bench.pool.set_warm({})
        await bench.pool.load(A, PLAN, is_kept=True)
        await refused("loaded to stay")
        assert bench.states() == {"a:1": "ready"}
        await bench.pool.unload("a:1")
        bench.launcher.loads_at_once = True
        await bench.use(A)
        assert await bench.pool.unload("a:1", only_unused=True) is True
        assert await bench.pool.unload("a:1", only_unused=True) is False
        await bench.pool.close()

    run(scenario())


def test_unload_during_a_load_stops_it_and_a_waiter_loads_again() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(loads_at_once=False))
        waiting = asyncio.create_task(bench.use(A))
        await bench.until({"a:1": "loading"})
        bench.launcher.loads_at_once = True
        assert await bench.pool.unload("a:1") is False  # it is loaded again for the one who waits
        await waiting
        assert len(bench.launcher.workers) == 2
        await bench.pool.close()

    run(scenario())


def test_a_full_queue_is_refused_and_others_are_not_touched() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(loads_at_once=False), max_queue=2)
        waiting = [asyncio.create_task(bench.use(A)) for _ in range(2)]
        await bench.until({"a:1": "loading"})
        with pytest.raises(Overloaded, match="max_queue is 2"):
            await bench.use(A)
        (await bench.worker(0)).may_load.set()
        assert await asyncio.gather(*waiting) == [None, None]
        await bench.pool.close()

    run(scenario())


def test_who_waits_too_long_is_told_what_is_busy() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=1500), queue_timeout_s=0.005)
        async with bench.pool.lease(A, PLAN):
            with pytest.raises(Overloaded, match="busy: a:1"):
                await bench.use(B)
        await bench.pool.close()

    run(scenario())


def test_close_lets_answers_finish_refuses_new_ones_and_stops_every_process() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        await bench.use(B)
        async with bench.pool.lease(A, PLAN):
            closing = asyncio.create_task(bench.pool.close())
            await bench.until({"a:1": "draining"})
            with pytest.raises(DaemonStopping):
                await bench.use(A)
            assert not closing.done()
        await closing
        assert bench.launcher.resident == {}
        assert bench.states() == {}

    run(scenario())


def test_close_does_not_wait_longer_than_it_promises() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(), drain_timeout_s=0.005)
        async with bench.pool.lease(A, PLAN):
            await bench.pool.close()
            assert bench.launcher.resident == {}

    run(scenario())


def test_a_model_that_left_the_disk_or_changed_is_drained() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        await bench.use(A)
        await bench.use(B)
        await bench.use(C)
        bench.pool.keep_only({"a:1": A, "b:1": replace(B, fingerprint="changed"), "other:1": C})
        await bench.until({"a:1": "ready"})
        bench.pool.keep_only({})
        await bench.until({})

    run(scenario())


def test_a_failed_process_that_is_not_gone_yet_is_room_on_its_way() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(total_bytes=1500, loads_at_once=False), load_timeout_s=0.005)
        failing = asyncio.create_task(bench.use(A))
        stuck = await bench.worker(0)
        stuck.may_stop.clear()
        bench.launcher.resident[stuck.pid] = 1000
        with pytest.raises(LoadFailed, match="load_timeout_s"):
            await failing
        bench.launcher.loads_at_once = True
        waiting = asyncio.create_task(bench.use(B))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        stuck.may_stop.set()
        await waiting
        await bench.pool.close()

    run(scenario())


def test_requests_beyond_what_advances_together_are_shown_as_queued() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(), max_concurrent=2)
        async with bench.pool.lease(A, PLAN), bench.pool.lease(A, PLAN), bench.pool.lease(A, PLAN):
            (session,) = bench.pool.snapshot()
            assert (session.active, session.queued) == (2, 1)
        await bench.pool.close()

    run(scenario())


@pytest.mark.parametrize(("asked", "said", "active"), [(None, 0, 4), (None, 5, 5), (2, 0, 2), (2, 2, 2)])
def test_what_advances_together_is_what_the_worker_says_or_what_was_asked_for(
    asked: int | None, said: int, active: int
) -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher(max_concurrent=said), max_concurrent=asked)
        async with contextlib.AsyncExitStack() as leases:
            for _ in range(6):
                await leases.enter_async_context(bench.pool.lease(A, PLAN))
            (session,) = bench.pool.snapshot()
            assert (session.active, session.queued, session.max_concurrent) == (active, 6 - active, active)
        loaded = bench.launcher.workers[0].loaded
        assert loaded is not None and loaded.max_concurrent == (asked or 0)
        await bench.pool.close()

    run(scenario())


def test_the_memory_of_rows_is_that_of_the_latest_pulse() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        model = a_model("a", kv_bytes_per_token=100)
        await bench.use(model)
        assert (bench.pool.snapshot()[0].row_tokens, bench.pool.snapshot()[0].kv_token_bytes) == ((), 100)
        bench.launcher.workers[0].pulse = Pulse(row_tokens=[7], kept_tokens=[3], reserved_tokens=512, cache_tokens=1024)
        (session,) = bench.pool.snapshot()
        assert (session.row_tokens, session.kept_tokens) == ((7,), (3,))
        assert (session.reserved_tokens, session.cache_tokens) == (512, 1024)
        await bench.pool.close()

    run(scenario())


def test_repr_is_a_status_line() -> None:
    async def scenario() -> None:
        bench = Bench(FakeLauncher())
        assert repr(bench.pool) == "<SessionPool empty; waiting=0>"
        await bench.use(A)
        assert repr(bench.pool) == f"<SessionPool a:1 {SessionState.READY} leases=0; waiting=0>"
        await bench.pool.close()

    run(scenario())
