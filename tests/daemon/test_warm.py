from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import pytest

from daemon.catalog import Catalog
from daemon.pool.plan import LoadPlan
from daemon.warm import WarmSet
from registry.errors import DaemonStopping, LoadFailed, OutOfBudget
from registry.model import Model, Task
from selector.policy import Policy
from selector.selection import SelectionRequest
from tests.fakes import a_model, on_loop

OLD, NEW = a_model("old"), a_model("new")
PLAN = LoadPlan(context_tokens=1024, threads=2, need_bytes=1000)


@dataclass
class Selected:
    chosen: str | None


class Chooses:
    """A catalog whose choice the test makes."""

    policy = Policy.BALANCED

    def __init__(self, **best: Model | None) -> None:
        self.best: dict[str, Model | None] = dict(best)
        self.remembered: list[tuple[Task, str]] = []

    @property
    def chooser(self) -> Chooses:
        return self

    def remember(self, task: Task, model_id: str) -> None:
        self.remembered.append((task, model_id))

    def select(self, request: SelectionRequest) -> Selected:
        best = self.best.get(request.task)
        return Selected(best.id if best is not None else None)

    def get(self, reference: str) -> Model:
        return next(model for model in (OLD, NEW) if model.id == reference)

    def plan(self, model: Model, task: Task) -> LoadPlan:
        return PLAN


@dataclass
class Pool:
    """Loads at once, or as the test says."""

    ready: set[str] = field(default_factory=set)
    warm_for: dict[str, tuple[Task, ...]] = field(default_factory=dict)
    calls: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    dismissed: set[str] = field(default_factory=set)
    errors: list[Exception] = field(default_factory=list)
    may_load: asyncio.Event = field(default_factory=asyncio.Event)

    async def warm(self, model: Model, plan: LoadPlan, *, may_replace: frozenset[str] = frozenset()) -> None:
        self.calls.append((model.id, may_replace))
        await self.may_load.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.ready.add(model.id)

    def set_warm(self, tasks_of: Mapping[str, tuple[Task, ...]]) -> None:
        self.warm_for = dict(tasks_of)

    def retire(self, model_id: str) -> None:
        self.retired.append(model_id)
        self.ready.discard(model_id)

    def is_ready(self, model_id: str) -> bool:
        return model_id in self.ready

    def is_dismissed(self, model_id: str) -> bool:
        return model_id in self.dismissed


class Bench:
    def __init__(self, *tasks: Task, is_swapping: bool = True, **best: Model | None) -> None:
        self.catalog, self.pool = Chooses(**best), Pool()
        self.pool.may_load.set()
        self.tasks, self.is_swapping = tasks or (Task.CHAT,), is_swapping
        self.swaps: list[tuple[str, str]] = []
        self.warm = WarmSet(
            self.pool,
            lambda: self.tasks,
            is_swapping=lambda: self.is_swapping,
            on_swap=lambda _task, before, after: self.swaps.append((before, after)),
        )
        self.running = asyncio.create_task(self.warm.run(cast(Catalog, self.catalog)))

    async def look(self, **best: Model | None) -> None:
        """Something has changed; until all that follows has been done."""
        self.catalog.best |= best
        self.warm.look()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


@on_loop
async def test_the_best_model_is_loaded_before_anybody_asks_and_stays() -> None:
    bench = Bench(chat=OLD)
    await bench.settle()
    assert (bench.pool.calls, bench.pool.warm_for) == ([("old:1", frozenset())], {"old:1": (Task.CHAT,)})
    await bench.look()
    assert len(bench.pool.calls) == 1
    await bench.stop()


@on_loop
async def test_a_better_model_is_loaded_beside_the_old_one_which_goes_when_it_is_there() -> None:
    bench = Bench(chat=OLD)
    await bench.settle()
    bench.pool.may_load.clear()
    await bench.look(chat=NEW)
    assert bench.pool.ready == {"old:1"}
    assert bench.warm.stand_in(Task.CHAT, "new:1") == "old:1"
    assert bench.warm.stand_in(Task.CODE, "new:1") is None
    assert bench.warm.stand_in(Task.CHAT, "other:1") is None
    bench.pool.may_load.set()
    await bench.settle()
    assert (bench.pool.ready, bench.pool.retired, bench.swaps) == ({"new:1"}, ["old:1"], [("old:1", "new:1")])
    assert bench.pool.warm_for == {"new:1": (Task.CHAT,)}
    assert bench.warm.stand_in(Task.CHAT, "new:1") is None
    assert bench.catalog.remembered[-1] == (Task.CHAT, "new:1")
    await bench.stop()


@on_loop
async def test_where_memory_does_not_allow_both_the_new_one_takes_the_place_of_the_old_one() -> None:
    bench = Bench(chat=OLD)
    await bench.settle()
    bench.pool.errors.append(OutOfBudget("no room"))
    await bench.look(chat=NEW)
    assert bench.pool.calls[1:] == [("new:1", frozenset()), ("new:1", frozenset({"old:1"}))]
    assert bench.swaps == [("old:1", "new:1")]
    await bench.stop()


@pytest.mark.parametrize("error", [LoadFailed("damaged"), OutOfBudget("no room")])
@on_loop
async def test_a_successor_that_cannot_be_loaded_leaves_the_old_one_alone(error: Exception) -> None:
    bench = Bench(chat=OLD)
    await bench.settle()
    bench.pool.errors += [error, error]
    await bench.look(chat=NEW)
    assert (bench.pool.ready, bench.pool.retired, bench.swaps) == ({"old:1"}, [], [])
    assert bench.pool.warm_for == {"old:1": (Task.CHAT,)}
    await bench.stop()


@on_loop
async def test_without_auto_swap_a_loaded_model_keeps_its_task_and_one_that_went_is_replaced() -> None:
    bench = Bench(chat=OLD, is_swapping=False)
    await bench.settle()
    await bench.look(chat=NEW)
    assert bench.pool.ready == {"old:1"}
    bench.pool.ready.clear()  # it left the disk
    await bench.look()
    assert bench.pool.ready == {"new:1"}
    await bench.stop()


@on_loop
async def test_one_model_can_be_warm_for_several_tasks_and_goes_with_the_last_of_them() -> None:
    bench = Bench(Task.CHAT, Task.CODE, chat=OLD, code=OLD)
    await bench.settle()
    assert bench.pool.warm_for == {"old:1": (Task.CHAT, Task.CODE)}
    await bench.look(code=NEW)
    assert (bench.pool.ready, bench.pool.retired) == ({"old:1", "new:1"}, [])
    await bench.look(chat=NEW)
    assert (bench.pool.ready, bench.pool.retired) == ({"new:1"}, ["old:1"])
    await bench.stop()


@on_loop
async def test_what_somebody_unloaded_by_name_is_not_loaded_again_behind_their_back() -> None:
    bench = Bench(chat=OLD)
    await bench.settle()
    bench.pool.ready.clear()
    bench.pool.dismissed.add("old:1")
    await bench.look()
    assert bench.pool.ready == set()
    bench.pool.dismissed.clear()
    await bench.look()
    assert bench.pool.ready == {"old:1"}
    await bench.stop()


@on_loop
async def test_nothing_to_choose_from_is_no_trouble_and_neither_is_a_bug_with_one_task() -> None:
    bench = Bench(Task.TOOLS, Task.CHAT, chat=OLD)
    await bench.settle()
    assert bench.pool.ready == {"old:1"}
    bench.pool.errors.append(RuntimeError("a bug"))
    bench.pool.ready.clear()
    await bench.look()
    assert not bench.running.done()
    await bench.look()
    assert bench.pool.ready == {"old:1"}
    await bench.stop()


@on_loop
async def test_a_daemon_that_stops_brings_no_more_models_and_that_is_no_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(Task.CHAT, Task.TOOLS, chat=OLD, tools=NEW)
    bench.pool.errors.append(DaemonStopping("The daemon stops."))
    await bench.settle()
    assert bench.running.done()
    assert [model_id for model_id, _ in bench.pool.calls] == ["old:1"]
    assert not caplog.records


@on_loop
async def test_tasks_that_are_warm_no_more_let_their_models_go_and_new_ones_bring_theirs() -> None:
    bench = Bench(Task.CHAT, chat=OLD, code=NEW)
    await bench.settle()
    bench.tasks = (Task.CODE,)
    await bench.look()
    assert bench.pool.warm_for == {"new:1": (Task.CODE,)}
    bench.tasks = ()
    await bench.look()
    assert bench.pool.warm_for == {}
    bench.tasks = (Task.CHAT,)
    await bench.look()
    assert bench.pool.warm_for == {"old:1": (Task.CHAT,)}
    await bench.stop()


@on_loop
async def test_whether_a_better_model_takes_over_is_asked_each_time() -> None:
    bench = Bench(is_swapping=False, chat=OLD)
    await bench.settle()
    await bench.look(chat=NEW)
    assert bench.swaps == []
    bench.is_swapping = True
    await bench.look()
    assert bench.swaps == [("old:1", "new:1")]
    await bench.stop()
