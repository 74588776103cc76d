"""Where everything is wired together: registry, machine, catalog, pool, watcher and routes.

Invariant: nothing else builds these objects, and nothing is global: two apps can live in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from daemon import __version__
from daemon.admin import Admin
from daemon.answers import Answers
from daemon.api.admin import registry_router, sessions_router
from daemon.api.errors import install_error_handlers
from daemon.api.openai import openai_router
from daemon.api.security import Guard
from daemon.catalog import Catalog
from daemon.machine import Machine
from daemon.pool.budget import MemoryMeter
from daemon.pool.launch import Launcher, ProcessLauncher
from daemon.pool.pool import PoolLimits, SessionPool
from daemon.pool.session import SessionState
from daemon.settings import Paths, Settings
from registry.model import Changes, FolderProblem, Model, Status
from registry.store import Registry
from registry.watch import RootWatcher
from selector.budget import available_bytes
from selector.hardware.processes import resident_bytes
from selector.selection import SessionFacts

log = logging.getLogger("slmreg")

# Until the first scan has worked there is nothing to serve.
RETRY_S = 5.0


class Daemon:
    """The parts of one running daemon, and what happens between them."""

    def __init__(self, settings: Settings, paths: Paths, environment: Mapping[str, str], launcher: Launcher) -> None:
        self.settings = settings
        self.started_s = time.monotonic()
        self.is_ready = False
        self.registry = Registry.open(paths.database)
        self.machine = Machine(paths.hardware_cache)
        self.pool = SessionPool(launcher, _limits(settings), MemoryMeter(self._available_bytes, resident_bytes))
        self.catalog = Catalog(self.registry, self.machine, settings, environment, self._session_facts)
        self.admin = Admin(self.catalog, self._loaded, self._scan)
        self.answers = Answers(self.catalog, self.pool, request_timeout_s=settings.request_timeout_s)
        self._watcher = RootWatcher(self._root_paths, self._scan, settle_s=settings.settle_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._told_problems: set[FolderProblem] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scan and watch while the context is open; drain and stop everything when it closes."""
        self._loop = asyncio.get_running_loop()
        scanning = asyncio.create_task(self._scan_now_and_then(), name="rescan")
        try:
            yield
        finally:
            scanning.cancel()
            await asyncio.gather(scanning, return_exceptions=True)
            await asyncio.to_thread(self._watcher.stop)
            self._close_pool()
            if self._closing is not None:
                await self._closing
            self.registry.close()

    def begin_stop(self) -> None:
        """Any thread, also a signal handler: refuse new requests and drain from now on. ``running`` waits for the end.

        The web server waits for running responses before it ends the application, so this cannot wait for that.
        """
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close_pool)

    def _close_pool(self) -> None:
        if self._closing is None:
            answers = sum(session.active for session in self.pool.snapshot())
            log.info("daemon.stopping answers=%d at_most_s=%g", answers, self.settings.drain_timeout_s)
            self._closing = asyncio.create_task(self.pool.close(), name="drain")

    def status(self) -> dict[str, Any]:
        """The part of the status that the process itself knows; the address is the command line's to add."""
        return {
            "running": True,
            "ready": self.is_ready,
            "pid": os.getpid(),
            "version": __version__,
            "models": sum(m.status is Status.READY for m in self.catalog.models(include_missing=False)),
            "sessions": len(self.pool.snapshot()),
            "uptime_s": round(time.monotonic() - self.started_s, 1),
        }

    async def _scan_now_and_then(self) -> None:
        """The watcher, the first scan, then a rescan now and then for what events may have missed."""
        await self._attempt("hardware", self.machine.hardware)
        await self._attempt("watch", self._watcher.start)  # before the scan: what changes meanwhile is not lost
        while True:
            has_scanned = await self._attempt("scan", self._scan)
            if has_scanned and not self.is_ready:
                self.is_ready = True
                log.info("daemon.ready")
            await asyncio.sleep(self.settings.rescan_s if has_scanned else RETRY_S)

    async def _attempt(self, what: str, work: Callable[[], object]) -> bool:
        """Run ``work`` in a thread. What fails (a full disk, a root that vanishes) must not end the daemon."""
        try:
            await asyncio.to_thread(work)
        except Exception:
            log.exception("%s.failed", what)
            return False
        return True

    def _scan(self, under: Path | None = None) -> Changes:
        """The one way to scan: index, tell, and let go of sessions whose model is no longer what is on the disk.

        Any thread but the event loop's: this reads the disk and writes the database. The watcher calls it with the
        folder under which something came, changed or went, and is still now.
        """
        changes = self.catalog.scan(under=under)
        for kind, ids in (("added", changes.added), ("updated", changes.updated), ("missing", changes.missing)):
            for model_id in ids:
                log.info("model.%s id=%s", kind, model_id)
        self._tell_new_problems(changes)
        ready = {m.id: m for m in self.catalog.models(include_missing=False) if m.status is Status.READY}
        if not changes.is_empty or not self.is_ready:
            _say_if_only_demo(ready.values())
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.pool.keep_only, ready)
        return changes

    def _tell_new_problems(self, changes: Changes) -> None:
        """Once each: a rescan finds the same ones again."""
        for problem in set(changes.problems) - self._told_problems:
            log.warning("model.problem path=%s code=%s message=%r", problem.path, problem.code, problem.message)
        self._told_problems |= set(changes.problems)

    def _root_paths(self) -> tuple[Path, ...]:
        return tuple(root.path for root in self.catalog.roots())

    def _available_bytes(self) -> int:
        return available_bytes(self.machine.hardware())

    def _session_facts(self) -> tuple[SessionFacts, ...]:
        return tuple(
            SessionFacts(s.model_id, s.resident_bytes, is_reclaimable=s.active == 0 and s.queued == 0)
            for s in self.pool.snapshot()
            if s.state in (SessionState.READY, SessionState.LOADING)
        )

    def _loaded(self) -> frozenset[str]:
        return frozenset(s.model_id for s in self.pool.snapshot() if s.state is SessionState.READY)


def create_app(
    settings: Settings,
    paths: Paths,
    environment: Mapping[str, str] = os.environ,
    launcher: Launcher | None = None,
) -> FastAPI:
    """The whole daemon as an ASGI app. Raises DatabaseError if the registry cannot be opened.

    ``app.state.begin_stop`` is for whoever runs it to call as soon as it is asked to stop.
    """
    daemon = Daemon(settings, paths, environment, launcher or ProcessLauncher())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with daemon.running():
            yield

    # The interactive pages load their scripts from a CDN: not on an offline machine.
    app = FastAPI(title="slmreg", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.begin_stop = daemon.begin_stop
    app.add_middleware(Guard, max_body_bytes=settings.max_body_bytes)
    install_error_handlers(app)
    app.include_router(openai_router(daemon.admin, daemon.answers, max_messages=settings.max_messages))
    app.include_router(registry_router(daemon.admin, daemon.status))
    app.include_router(sessions_router(daemon.catalog, daemon.pool))

    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """200 while the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"])
    async def readyz() -> JSONResponse:
        """200 once the first scan is done, else 503."""
        status = 200 if daemon.is_ready else 503
        return JSONResponse({"status": "ready" if daemon.is_ready else "starting"}, status_code=status)

    return app


def _say_if_only_demo(ready: Collection[Model]) -> None:
    if ready and all(model.is_demo for model in ready):
        log.warning(
            "models.only_demo id=%s hint='this machine has no other model: answers come from the small demo model that "
            "ships with slmreg; add real ones with: slmreg roots add PATH'",
            ", ".join(model.id for model in ready),
        )


def _limits(settings: Settings) -> PoolLimits:
    return PoolLimits(
        budget_bytes=settings.memory_budget_bytes,
        max_concurrent=settings.max_concurrent,
        max_queue=settings.max_queue,
        load_timeout_s=settings.load_timeout_s,
        queue_timeout_s=settings.queue_timeout_s,
        drain_timeout_s=settings.drain_timeout_s,
        failed_retry_s=settings.failed_retry_s,
    )
