"""Whatever happens in whatever order: the pool keeps its promises."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daemon.pool.plan import LoadPlan
from daemon.pool.session import Session, SessionState
from registry.errors import SlmregError
from registry.model import Task
from tests.daemon.pool.bench import Bench
from tests.fakes import FakeLauncher, FakeWorker, a_model

NEEDS = {"a": 300, "b": 500, "c": 800, "d": 1000}
MODELS = {name: a_model(name) for name in NEEDS}
# What a session needs more that is loaded with a long context.
LONG_TOKENS, LONG_BYTES = 4096, 250
BUDGET = 1600
TOTAL = 2000
TURNS = 30

names = st.sampled_from(sorted(NEEDS))
keep_alives = st.sampled_from([None, 0.0, 5.0, 600.0])


class Asked:
    """One request: waits for its model, answers until it is told to finish, and ends in one way or another."""

    def __init__(self, bench: Bench, name: str, keep_alive_s: float | None, *, is_long: bool) -> None:
        self.name = name
        self.may_finish = asyncio.Event()
        plan = LoadPlan(1024, 2, need_bytes=NEEDS[name], keep_alive_s=keep_alive_s)
        if is_long:
            need_bytes = NEEDS[name] + LONG_BYTES
            plan = replace(plan, context_tokens=LONG_TOKENS, least_context_tokens=LONG_TOKENS, need_bytes=need_bytes)
        self.session: Session | None = None
        self.worker: object = None
        self.task = asyncio.create_task(self._run(bench, plan))

    async def _run(self, bench: Bench, plan: LoadPlan) -> None:
        with suppress(SlmregError):
            async with bench.pool.lease(MODELS[self.name], plan) as lease:
                assert lease.plan.context_tokens >= plan.least_context_tokens
                self.session, self.worker = lease.session, lease.session.worker
                try:
                    await self.may_finish.wait()
                finally:
                    self.session = None


class PoolMachine(RuleBasedStateMachine):
    """A pool with fakes, and people who load, ask, leave, unload and wait."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.asked: list[Asked] = []
        self.others: list[asyncio.Task[object]] = []
        self.started = 0
        self.died: set[int] = set()

    # -- what happens

    @initialize()
    def a_fresh_pool(self) -> None:
        async def make() -> None:
            self.launcher = FakeLauncher(total_bytes=TOTAL, loads_at_once=False)
            limits: dict[str, Any] = {
                "budget_bytes": BUDGET,
                "max_queue": 4,
                "max_queue_total": 8,
                "queue_timeout_s": 1e6,
            }
            self.bench = Bench(self.launcher, load_timeout_s=1e6, **limits)
            self.bench.pool.share_cores(((0,), (1,)))

        self.run(make())

    @rule(name=names, keep_alive_s=keep_alives, is_long=st.booleans())
    def somebody_asks(self, name: str, keep_alive_s: float | None, is_long: bool) -> None:
        async def ask() -> None:
            self.asked.append(Asked(self.bench, name, keep_alive_s, is_long=is_long))

        self.run(ask())

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def somebody_leaves(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.asked)).task.cancel()
        self.turn()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def an_answer_is_finished(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.asked)).may_finish.set()
        self.turn()

    @precondition(lambda self: self.loading())
    @rule(data=st.data(), error=st.sampled_from([None, None, None, "damaged"]))
    def a_load_ends(self, data: st.DataObject, error: str | None) -> None:
        worker = data.draw(st.sampled_from(self.loading()))
        worker.load_error = error
        self.launcher.bytes_per_model = self.need_of(worker)
        worker.may_load.set()
        self.turn()

    @precondition(lambda self: self.launcher.resident)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        pid = data.draw(st.sampled_from(sorted(self.launcher.resident)))
        self.died.add(pid)
        self.launcher.workers[pid - 1].die()
        self.turn()

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        async def pass_time() -> None:
            self.bench.clock.now_s += seconds
            self.bench.pool.tick()

        self.run(pass_time())

    @rule(name=names, at_once=st.booleans())
    def somebody_unloads(self, name: str, at_once: bool) -> None:
        async def unload() -> None:
            self.others.append(asyncio.create_task(self.bench.pool.unload(f"{name}:1", at_once=at_once)))

        self.run(unload())

    @rule(name=st.sampled_from(["a", "b"]))
    def somebody_loads_to_keep(self, name: str) -> None:
        async def load() -> None:
            plan = LoadPlan(1024, 2, need_bytes=NEEDS[name])
            loading = self.bench.pool.load(MODELS[name], plan, is_kept=True)
            self.others.append(asyncio.create_task(loading))

        self.run(load())

    @rule(name=names, other=st.none() | names)
    def a_model_is_warmed(self, name: str, other: str | None) -> None:
        async def warm() -> None:
            plan = LoadPlan(1024, 2, need_bytes=NEEDS[name])
            may_replace = frozenset() if other is None else frozenset({f"{other}:1"})
            warming = self.bench.pool.warm(MODELS[name], plan, may_replace=may_replace)
            self.others.append(asyncio.create_task(warming))
            self.bench.pool.set_warm({f"{name}:1": (Task.CHAT,)})

        self.run(warm())

    @rule(name=names)
    def a_model_changes_on_the_disk(self, name: str) -> None:
        async def change() -> None:
            there = {model.id: model for model in MODELS.values()}
            there[f"{name}:1"] = replace(MODELS[name], fingerprint="other")
            self.bench.pool.keep_only(there)

        self.run(change())

    @rule(taken=st.integers(0, 1500))
    def other_programs_take_memory(self, taken: int) -> None:
        self.launcher.total_bytes = TOTAL - taken
        self.turn()

    # -- what must be so

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert sum(self.need_of(worker) for worker in self.alive()) <= BUDGET

    @invariant()
    def nobody_who_answers_loses_the_model_but_to_force_or_death(self) -> None:
        for asked in self.asked:
            if asked.session is None:
                continue
            worker = asked.worker
            assert isinstance(worker, FakeWorker)
            assert worker.was_stopped_at_once is not False or worker.pid in self.died

    @invariant()
    def what_is_kept_is_never_evicted(self) -> None:
        for session in self.sessions():
            assert not (session.is_kept and session.drain_by_s is not None and session.state is SessionState.DRAINING)

    @invariant()
    def leases_are_those_of_the_requests_that_answer(self) -> None:
        for session in self.sessions():
            assert session.leases == sum(asked.session is session for asked in self.asked)

    @invariant()
    def loads_start_in_order_of_arrival(self) -> None:
        new, self.started = self.launcher.workers[self.started :] if self.is_made() else [], self.count()
        if not new:
            return
        in_line = [waiter for waiter in self.bench.pool._queue if not waiter.is_background]
        for worker in new:
            places = [place for place, w in enumerate(in_line) if w.model.name == self.name_of(worker)]
            for earlier in in_line[: places[0]] if places else []:
                session = self.bench.pool._roster.find(earlier.model.id)
                assert session is None or session.state is not SessionState.UNLOADED

    @invariant()
    def a_model_is_served_by_one_session(self) -> None:
        if self.is_made():
            ready = [s.model_id for s in self.bench.pool.snapshot() if s.state is SessionState.READY]
            assert len(ready) == len(set(ready))

    def teardown(self) -> None:
        if self.is_made():
            self.loop.run_until_complete(asyncio.wait_for(self.everybody_gets_an_end(), 20))
        self.loop.close()

    async def everybody_gets_an_end(self) -> None:
        """Once loads work, answers end and memory is there, every request ends, and every process when it is told."""
        self.launcher.loads_at_once = True
        self.launcher.total_bytes = TOTAL
        for asked in self.asked:
            asked.may_finish.set()
        for _ in range(50):
            for worker in self.launcher.workers:
                worker.may_load.set()
            self.bench.clock.now_s += 1
            self.bench.pool.tick()
            await asyncio.sleep(0)
        await asyncio.gather(*(asked.task for asked in self.asked), *self.others, return_exceptions=True)
        assert all(session.leases == 0 for session in self.sessions())
        await self.bench.pool.close()
        assert self.launcher.resident == {}
        assert not self.alive()

    # -- helpers of the test

    def run(self, something: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(something)
        self.turn()

    def turn(self) -> None:
        """Until nothing moves any more."""

        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def is_made(self) -> bool:
        return hasattr(self, "bench")

    def count(self) -> int:
        return len(self.launcher.workers) if self.is_made() else 0

    def sessions(self) -> list[Session]:
        return list(self.bench.pool._roster) if self.is_made() else []

    def alive(self) -> list[FakeWorker]:
        workers = self.launcher.workers if self.is_made() else []
        return [worker for worker in workers if worker.loaded is not None and not worker.has_ended]

    def loading(self) -> list[FakeWorker]:
        return [worker for worker in self.alive() if worker.pid not in self.launcher.resident]

    def need_of(self, worker: FakeWorker) -> int:
        is_long = worker.loaded is not None and worker.loaded.context_tokens == LONG_TOKENS
        return NEEDS[self.name_of(worker)] + (LONG_BYTES if is_long else 0)

    def name_of(self, worker: FakeWorker) -> str:
        assert worker.loaded is not None
        return worker.loaded.path.rpartition("/")[2]


TestPool = PoolMachine.TestCase
TestPool.settings = settings(
    max_examples=100,
    phases=[Phase.reuse, Phase.generate],
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
