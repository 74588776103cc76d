"""``Tuner``: measures how a model runs best here, in a worker process of its own, and remembers it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from daemon.catalog import Catalog
from daemon.endpoints import CHATS
from daemon.pool.lease import Lease
from daemon.pool.plan import LoadPlan
from daemon.pool.pool import SessionPool
from daemon.pool.protocol import Failed, Measure, Measured
from daemon.tuning import LONGEST_PIECE_S, PIECES, ROWS, Trial, is_in_doubt, merged, thread_counts, verdict
from daemon.tunings import Tunings
from registry.errors import GenerationFailed, InvalidRequest, Overloaded
from registry.experience import Tuning
from registry.model import Device, Model

_STEPS = 10
# While calls are timed the worker says nothing, and one that is silent for long is taken to hang.
_FEW_STEPS, _SLOW_STEP_S = 3, 0.2
_PIECES = 3
_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    tuning: Tuning
    trials: tuple[Trial, ...]
    seconds: float


class Tuner:
    """One model at a time. ``within_s``: no further measurement is begun after so long."""

    def __init__(
        self,
        catalog: Catalog,
        pool: SessionPool,
        tunings: Tunings,
        *,
        within_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._pool = pool
        self._tunings = tunings
        self._within_s = within_s
        self._clock = clock
        self._now = now
        self._is_at_work = asyncio.Lock()

    async def tune(self, reference: str) -> Report:
        """Measure, and use what was found from the next load on. A model that was loaded is loaded again by that.

        Raises Overloaded while anything is being answered, InvalidRequest for a model that has nothing to tune, and
        what loading raises.
        """
        resolved = await asyncio.to_thread(self._catalog.resolve, reference, serves=CHATS)
        model, plan = resolved.model, resolved.plan
        if model.device is not Device.CPU:
            raise InvalidRequest(f"{model.id} runs on the {model.device}: only models on the CPU can be tuned.")
        if self._is_at_work.locked():
            raise Overloaded("Another model is being tuned. Ask again when that is done.", retry_after_s=_RETRY_S)
        async with self._is_at_work:
            self._require_rest()
            before = next((s for s in self._pool.snapshot() if s.model_id == model.id and s.state == "ready"), None)
            started_s = self._clock()
            try:
                trials, is_batched = await self._trials(model, plan, started_s)
            finally:
                await self._pool.unload(model.id)
            tuning = self._judged(model, trials, is_batched=is_batched)
            await asyncio.to_thread(self._tunings.record, tuning)
            if before is not None:
                again = await asyncio.to_thread(self._catalog.resolve, reference, serves=CHATS)
                await self._pool.load(again.model, again.plan, is_kept=before.is_kept)
            return Report(tuning, tuple(trials), self._clock() - started_s)

    async def forget(self, reference: str) -> tuple[str, bool]:
        """The model's id, and whether there was anything to forget. Raises ModelNotFound."""
        model = await asyncio.to_thread(self._catalog.get, reference)
        return model.id, await asyncio.to_thread(self._tunings.forget, model)

    def _require_rest(self) -> None:
        """Whatever is answered meanwhile is measured, too, and made to wait."""
        busy = [s.model_id for s in self._pool.snapshot() if s.active or s.queued or s.state == "loading"]
        if busy:
            raise Overloaded(
                f"{', '.join(busy)} is at work, and would be measured, too. Ask again when nothing is being answered.",
                retry_after_s=_RETRY_S,
            )

    async def _trials(self, model: Model, plan: LoadPlan, started_s: float) -> tuple[list[Trial], bool]:
        """And whether it was the batched engine."""
        cpu = (await asyncio.to_thread(self._catalog.hardware)).cpu
        trials: list[Trial] = []
        for threads in thread_counts(cpu.physical_cores, cpu.usable_cores):
            if not trials or not self._is_late(started_s):
                trial, is_batched = await self._loaded_trial(model, plan, threads, started_s)
                trials.append(trial)
        if is_in_doubt(trials):
            again, _ = await self._loaded_trial(model, plan, trials[0].threads, started_s)
            trials[0] = merged(trials[0], again)
        return trials, is_batched

    async def _loaded_trial(self, model: Model, plan: LoadPlan, threads: int, started_s: float) -> tuple[Trial, bool]:
        """With the model loaded for it. True: by the batched engine."""
        await self._pool.unload(model.id)
        # What the first load found out about the engine counts for the others.
        known = (await asyncio.to_thread(self._catalog.plan, model)).is_proven
        tried = replace(plan, threads=threads, max_concurrent=ROWS[-1], keep_alive_s=0.0, is_proven=known)
        async with self._pool.lease(model, tried) as lease:
            engine = next((s.engine for s in self._pool.snapshot() if s.model_id == model.id), None)
            is_batched = engine == "batched"
            return await self._trial(lease, threads, ROWS if is_batched else ROWS[:1], started_s), is_batched

    async def _trial(self, lease: Lease, threads: int, rows: Sequence[int], started_s: float) -> Trial:
        step_s: dict[int, float] = {}
        read_s: dict[int, float] = {}
        for size in rows:
            if not step_s or not self._is_late(started_s):
                is_slow = any(seconds > _SLOW_STEP_S for seconds in step_s.values())
                step_s[size] = await _timed(lease, rows=size, tokens=1, calls=_FEW_STEPS if is_slow else _STEPS)
        for size in PIECES:
            has_room = (_PIECES + 2) * size <= lease.plan.context_tokens
            is_long = any(seconds > LONGEST_PIECE_S for seconds in read_s.values())
            if has_room and not is_long and not (read_s and self._is_late(started_s)):
                read_s[size] = await _timed(lease, rows=1, tokens=size, calls=_PIECES)
        return Trial(threads, step_s, read_s)

    def _is_late(self, started_s: float) -> bool:
        return self._clock() - started_s > self._within_s()

    def _judged(self, model: Model, trials: Sequence[Trial], *, is_batched: bool) -> Tuning:
        found = verdict(trials, is_batched=is_batched)
        return Tuning(
            model_id=model.id,
            content=model.content or "",
            runtime=self._tunings.runtime,
            machine=self._tunings.machine,
            threads=found.threads,
            prefill_chunk_tokens=found.prefill_chunk_tokens,
            max_concurrent=found.max_concurrent,
            tuned_s=self._now(),
        )


async def _timed(lease: Lease, *, rows: int, tokens: int, calls: int) -> float:
    """Seconds of a call, the fastest: whatever disturbs makes slower. Raises GenerationFailed."""
    request = Measure(request_id=f"tune-{uuid.uuid4().hex}", rows=rows, tokens=tokens, calls=calls)
    async for event in lease.generate(request):
        if isinstance(event, Measured):
            return min(event.call_s)
        if isinstance(event, Failed):
            raise GenerationFailed(f"The measurement failed: {event.message}")
    raise GenerationFailed("The measurement ended without a result.")
