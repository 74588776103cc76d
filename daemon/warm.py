"""``WarmSet``: for some tasks the best model is loaded before anybody asks, stays, and gives way to a better one.

Invariant: a task that has a loaded model keeps it until its successor is loaded, wherever memory allows both; and what
goes wrong with a successor leaves the one that serves alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from daemon.catalog import Catalog
from daemon.pool.plan import LoadPlan
from registry.errors import DaemonStopping, LoadFailed, OutOfBudget, SlmregError
from registry.model import Model, Task
from selector.selection import SelectionRequest

log = logging.getLogger("slmreg.warm")

# How late a change that nobody told of (memory, another process) may be noticed.
LOOK_S = 5.0


class Sessions(Protocol):
    """The part of ``SessionPool`` that matters here."""

    async def warm(self, model: Model, plan: LoadPlan, *, may_replace: frozenset[str] = frozenset()) -> None: ...
    def set_warm(self, tasks_of: Mapping[str, tuple[Task, ...]]) -> None: ...
    def retire(self, model_id: str) -> None: ...
    def is_ready(self, model_id: str) -> bool: ...
    def is_dismissed(self, model_id: str) -> bool: ...


class WarmSet:
    """``run`` does the work, on the event loop of the pool."""

    def __init__(
        self,
        pool: Sessions,
        tasks: Callable[[], Sequence[Task]],
        *,
        is_swapping: Callable[[], bool],
        on_swap: Callable[[Task, str, str], None],
    ) -> None:
        """``is_swapping``: whether a better model takes over by itself. ``on_swap``: task, old and new model."""
        self._pool = pool
        self._tasks = tasks
        self._is_swapping = is_swapping
        self._on_swap = on_swap
        self._holders: dict[Task, str] = {}
        self._coming: dict[Task, str] = {}
        self._news = asyncio.Event()

    def look(self) -> None:
        """Something has changed; on the event loop."""
        self._news.set()

    def stand_in(self, task: Task, coming: str) -> str | None:
        """The model that has ``task`` while ``coming`` is being loaded to take it over; None: there is no such.

        Any thread.
        """
        holder = self._holders.get(task)
        if holder is None or holder == coming or self._coming.get(task) != coming:
            return None
        return holder if self._pool.is_ready(holder) else None

    async def run(self, catalog: Catalog) -> None:
        """Until it is cancelled, or the daemon stops."""
        while True:
            self._news.clear()
            tasks = self._tasks()
            self._keep_only(tasks)
            for task in tasks:
                try:
                    await self._look_after(task, catalog)
                except DaemonStopping:
                    return
                except Exception:  # one task must not cost the others their models
                    log.exception("warm.failed task=%s", task)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()

    def _keep_only(self, tasks: Sequence[Task]) -> None:
        """What was warm for a task that is none any more is as every other model from now on."""
        gone = self._holders.keys() - set(tasks)
        for task in gone:
            del self._holders[task]
        if gone:
            self._mark()

    async def _look_after(self, task: Task, catalog: Catalog) -> None:
        """Bring the best model of a task where it is not there, or may take over."""
        pick = await asyncio.to_thread(_best, catalog, task)
        holder = self._holders.get(task)
        present = holder if holder is not None and self._pool.is_ready(holder) else None
        may_come = present is None or (self._is_swapping() and pick is not None and present != pick.id)
        if pick is not None and may_come and not self._pool.is_dismissed(pick.id):
            await self._bring(task, pick, present, catalog)
        self._mark()

    async def _bring(self, task: Task, pick: Model, present: str | None, catalog: Catalog) -> None:
        """Load ``pick`` beside the model that is ``present``, else in its place; then it has the task."""
        self._coming[task] = pick.id
        try:
            await self._load(task, pick, present, catalog)
        except (LoadFailed, OutOfBudget) as error:
            log.warning("warm.not_loaded task=%s model=%s code=%s", task, pick.id, error.code)
            return
        finally:
            del self._coming[task]
        self._holders[task] = pick.id
        await asyncio.to_thread(catalog.chooser.remember, task, pick.id)
        self._mark()
        if present is not None:
            log.info("warm.swapped task=%s from=%s to=%s", task, present, pick.id)
            self._on_swap(task, present, pick.id)
            if present not in self._holders.values():
                self._pool.retire(present)

    async def _load(self, task: Task, pick: Model, present: str | None, catalog: Catalog) -> None:
        plan = await asyncio.to_thread(catalog.plan, pick, task)
        try:
            await self._pool.warm(pick, plan)
        except OutOfBudget:
            if present is None:
                raise
            await self._pool.warm(pick, plan, may_replace=frozenset({present}))

    def _mark(self) -> None:
        """Tell the pool which models stay."""
        tasks_of: dict[str, tuple[Task, ...]] = {}
        for task, model_id in self._holders.items():
            tasks_of[model_id] = (*tasks_of.get(model_id, ()), task)
        self._pool.set_warm(tasks_of)


def _best(catalog: Catalog, task: Task) -> Model | None:
    """What a request for ``task`` that asks for nothing special would get; None for nothing."""
    chosen = catalog.select(SelectionRequest(task, policy=catalog.policy)).chosen
    try:
        return catalog.get(chosen) if chosen is not None else None
    except SlmregError:  # gone between one moment and the next
        return None
