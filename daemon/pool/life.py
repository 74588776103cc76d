"""The slow half of a session: from the start of its process to the end of it. Decides nothing.

Invariant: for every life that was begun, ``Steps.on_gone`` is called once, after its process has exited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from daemon.pool.failures import Ending
from daemon.pool.launch import Launcher, Worker
from daemon.pool.limits import PoolLimits
from daemon.pool.protocol import Load, Ready
from daemon.pool.session import Session
from registry.model import Markers


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is called at each step of a life, on the event loop. Any of them may come too late to matter.

    ``on_ready`` gets the seconds from the start of the process; ``on_exit``: a loaded session's process has ended by
    itself; ``on_load_failed`` gets TimeoutError, WorkerFailure or whatever starting a process raises; ``on_gone``:
    there is no process any more.
    """

    on_ready: Callable[[Session, Ready, float], None]
    on_exit: Callable[[Session, Ending], None]
    on_load_failed: Callable[[Session, Exception], None]
    on_gone: Callable[[Session], None]


class Lives:
    """Runs one task per session."""

    def __init__(
        self,
        launcher: Launcher,
        steps: Steps,
        limits: Callable[[], PoolLimits],
        clock: Callable[[], float],
    ) -> None:
        self._launcher = launcher
        self._steps = steps
        self._limits = limits
        self._clock = clock

    def begin(self, session: Session) -> None:
        """Start the process and load, until ``session.released`` is set or the process ends by itself."""
        session.released = asyncio.Event()
        session.task = asyncio.create_task(self._run(session), name=f"session-{session.model.id}")

    async def _run(self, session: Session) -> None:
        """Live until the process ends by itself or nobody needs it any more; then see it gone."""
        life = asyncio.create_task(self._live(session))
        released = asyncio.create_task(session.released.wait())
        try:
            await asyncio.wait({life, released}, return_when=asyncio.FIRST_COMPLETED)
            if session.worker is None:
                await life  # released while the process was starting: it ends right after that
        finally:
            released.cancel()
            if session.worker is not None:
                await session.worker.stop(at_once=session.cut_short is not None)
            await asyncio.gather(life, return_exceptions=True)
            session.worker = session.task = None
            self._steps.on_gone(session)

    async def _live(self, session: Session) -> None:
        started_s = self._clock()
        try:
            worker = session.worker = await self._launcher.start()
            if session.released.is_set():
                return
            async with asyncio.timeout(self._limits().load_timeout_s):
                ready = await self._load(session, worker)
            self._steps.on_ready(session, ready, self._clock() - started_s)
            self._steps.on_exit(session, await worker.wait())
        except Exception as error:
            # Whatever it is, the session must not stay in LOADING for ever.
            self._steps.on_load_failed(session, error)

    async def _load(self, session: Session, worker: Worker) -> Ready:
        limits = self._limits()
        return await worker.load(
            Load(
                path=str(session.model.path),
                model_id=session.model.id,
                execution_provider=session.model.execution_provider,
                threads=session.plan.threads,
                context_tokens=session.plan.context_tokens,
                max_concurrent=session.plan.max_concurrent or limits.max_concurrent or 0,
                is_spinning=session.plan.is_spinning,
                prefill_chunk_tokens=session.plan.prefill_chunk_tokens or limits.prefill_chunk_tokens,
                kept_rows=limits.kept_prefixes,
                max_itl_ms=limits.max_itl_ms,
                draft_tokens=limits.draft_tokens,
                cores=list(session.cores),
                allowed_libraries=list(session.plan.allowed_libraries),
                tool_markers=_pair(session.model.tool_markers),
                reasoning_markers=_pair(session.model.reasoning_markers),
                engine=limits.engine,
                is_proven=session.plan.is_proven,
                least_context_tokens=session.plan.least_context_tokens,
            )
        )


def _pair(markers: Markers | None) -> list[str]:
    return [] if markers is None else [markers.start, markers.end]
