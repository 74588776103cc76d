"""Where everything is wired together: registry, machine, catalog, pool, watcher and routes.

Invariant: nothing else builds these objects, and nothing is global: two apps can live in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from daemon import __version__
from daemon.admin import Admin
from daemon.answers import Answers
from daemon.api.admin import admin_router
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
from registry.model import Changes, FolderProblem, Status
from registry.store import Registry
from registry.watch import RootWatcher
from selector.budget import available_bytes
from selector.hardware.processes import resident_bytes
from selector.selection import SessionFacts

log = logging.getLogger("slmreg")


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
        self.admin = Admin(self.catalog, self._loaded)
        self.answers = Answers(self.catalog, self.pool, request_timeout_s=settings.request_timeout_s)
        self._watcher = RootWatcher(self._root_paths, self._on_settled, settle_s=settings.settle_s)
        self._loop: asyncio.AbstractEventLoop | None = None
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
            await self.pool.close()
            self.registry.close()

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
        await asyncio.to_thread(self.machine.hardware)
        await asyncio.to_thread(self._watcher.start)  # before the scan: what changes meanwhile is not lost
        await self._rescan()
        self.is_ready = True
        log.info("daemon.ready")
        while True:
            await asyncio.sleep(self.settings.rescan_s)
            await self._rescan()

    async def _rescan(self) -> None:
        try:
            self._on_changes(await asyncio.to_thread(self._scan))
        except Exception:
            # A scan that fails (a full disk, a root that vanishes) must not end the daemon; the next one corrects it.
            log.exception("scan.failed")

    def _on_settled(self, folder: Path) -> None:
        """The watcher's thread: something under ``folder`` came, changed or went, and is still now."""
        changes = self._scan(under=folder)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_changes, changes)

    def _scan(self, under: Path | None = None) -> Changes:
        """Any thread but the event loop's: this reads the disk and writes the database."""
        changes = self.catalog.scan(under=under)
        for kind, ids in (("added", changes.added), ("updated", changes.updated), ("missing", changes.missing)):
            for model_id in ids:
                log.info("model.%s id=%s", kind, model_id)
        self._tell_new_problems(changes)
        if not changes.is_empty:
            self._say_if_only_demo()
        return changes

    def _tell_new_problems(self, changes: Changes) -> None:
        """Once each: a rescan finds the same ones again."""
        for problem in set(changes.problems) - self._told_problems:
            log.warning("model.problem path=%s code=%s message=%r", problem.path, problem.code, problem.message)
        self._told_problems |= set(changes.problems)

    def _say_if_only_demo(self) -> None:
        ready = [m for m in self.catalog.models(include_missing=False) if m.status is Status.READY]
        if ready and all(model.is_demo for model in ready):
            log.warning(
                "models.only_demo id=%s hint='this machine has no other model: answers come from the small demo model "
                "that ships with slmreg; add real ones with: slmreg roots add PATH'",
                ready[0].id,
            )

    def _on_changes(self, changes: Changes) -> None:
        """The event loop: what is loaded but no longer what is on the disk has to go."""
        for model_id in (*changes.updated, *changes.missing):
            self.pool.forget(model_id)

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
    """The whole daemon as an ASGI app. Raises DatabaseError if the registry cannot be opened."""
    daemon = Daemon(settings, paths, environment, launcher or ProcessLauncher())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with daemon.running():
            yield

    # The interactive pages load their scripts from a CDN: not on an offline machine.
    app = FastAPI(title="slmreg", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, max_body_bytes=settings.max_body_bytes)
    install_error_handlers(app)
    app.include_router(openai_router(daemon.admin, daemon.answers, max_messages=settings.max_messages))
    app.include_router(admin_router(daemon.admin, daemon.catalog, daemon.pool, daemon.status))

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
