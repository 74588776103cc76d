"""Where everything is wired together: registry, machine, catalog, pool, watcher and routes.

Invariant: nothing else builds these objects, and nothing is global: two apps can live in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from fastapi import APIRouter, FastAPI

from daemon import __version__
from daemon.access import Access
from daemon.admin import Admin
from daemon.announce import Announcer
from daemon.answer_limits import AnswerLimits
from daemon.answers import Answers
from daemon.api.accounting import Accounting
from daemon.api.admin import choice_router, registry_router, sessions_router, tune_router
from daemon.api.anthropic import anthropic_router
from daemon.api.audio import TRANSCRIPTIONS_PATH, TRANSLATIONS_PATH, audio_router
from daemon.api.completions import completions_router
from daemon.api.docs import docs_router
from daemon.api.embeddings import embeddings_router
from daemon.api.errors import install_error_handlers
from daemon.api.events import events_router
from daemon.api.foundry import foundry_router, foundry_sessions_router
from daemon.api.front import front_router
from daemon.api.health import health_router
from daemon.api.metrics import logs_router, metrics_router
from daemon.api.models import models_router
from daemon.api.ollama.routers import ollama_router
from daemon.api.openai import openai_router
from daemon.api.presets import presets_router
from daemon.api.reasoning import reasoning_router
from daemon.api.responses.router import responses_router
from daemon.api.security import Guard
from daemon.api.settings import settings_router
from daemon.api.turnstile import Turnstile
from daemon.catalog import Catalog
from daemon.choosing import memory_budget
from daemon.config.follow import follow_file
from daemon.config.present import Derived, PresentSettings
from daemon.conversations import Bounds, Conversations
from daemon.events import EventLog
from daemon.learner import Learner
from daemon.listing import Listing
from daemon.loads import Loads
from daemon.logs.logs import Logs
from daemon.machine import Machine
from daemon.metrics.book import Metrics
from daemon.metrics.exposition import Exposition
from daemon.metrics.gauges import Gauges
from daemon.pool.budget import MemoryMeter
from daemon.pool.launch import Launcher, ProcessLauncher
from daemon.pool.limits import PoolLimits
from daemon.pool.observer import Observers
from daemon.pool.pool import SessionPool
from daemon.pool.session import SessionState
from daemon.proofs import Proofs, installed_runtime
from daemon.session_news import SessionNews
from daemon.settings import Paths, Settings
from daemon.shapes import Json, failure_json, recovery_json, unwritten_json
from daemon.tuner import Tuner
from daemon.unwritten import Unwritten
from daemon.upkeep import Upkeep
from daemon.warm import WarmSet
from registry.model import Model, Root, Status
from registry.store import Registry
from registry.watch import RootWatcher
from selector.budget import headroom_bytes
from selector.hardware.cores import core_groups
from selector.hardware.processes import peak_bytes, resident_bytes
from selector.selection import HeldBack, SessionFacts

log = logging.getLogger("slmreg")

# The speed of the machine is measured when it has been at rest for so long.
MEASURE_AFTER_S = 5.0


class Daemon:
    """The parts of one running daemon, and what happens between them."""

    def __init__(
        self,
        settings: PresentSettings,
        paths: Paths,
        environment: Mapping[str, str],
        launcher: Launcher,
        command_line_key: str | None,
        logs: Logs,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.started_s = time.monotonic()
        self.registry = Registry.open(paths.database)
        self.access = Access(
            self.registry.api_keys,
            requires_key=lambda: settings().require_key or settings().is_public,
            command_line_key=command_line_key,
        )
        self.machine = Machine(paths.hardware_cache)
        self.unwritten = Unwritten()
        self.conversations = Conversations(paths.conversations, Derived(settings, _bounds), unwritten=self.unwritten)
        record = self.unwritten.watching("measurements", self.registry.record_measurements)
        self.learner = Learner(record, self.registry.measurements())
        self.events = EventLog(
            max_events=lambda: settings().max_events, max_followers=lambda: settings().max_subscribers
        )
        news = SessionNews(self.events)
        memory = MemoryMeter(self._headroom_bytes, resident_bytes, peak_bytes)
        self.proofs = Proofs(
            self.registry.record_engine_proof, self.registry.engine_proofs(), runtime=installed_runtime()
        )
        observers = Observers((self.learner, self.proofs, news, self.metrics))
        limits = Derived(settings, lambda now: _limits(now, memory_budget(now, self.machine.hardware)))
        self.pool = SessionPool(launcher, limits, memory, observer=observers)
        self.warm = WarmSet(
            self.pool,
            lambda: settings().warm_tasks,
            is_swapping=lambda: settings().auto_swap,
            on_swap=news.swapped,
        )
        self.catalog = Catalog(
            self.registry,
            self.machine,
            settings,
            environment,
            self._session_facts,
            measurements=self.learner.measurements,
            latest=self.learner.latest,
            setbacks=self.learner.setbacks,
            held_back=self._held_back,
            stand_in=self.warm.stand_in,
            is_proven=self.proofs.find,
        )
        self.listing = Listing()
        self.upkeep = Upkeep(
            self.catalog,
            Announcer(self.catalog, self.events),
            make_watcher=lambda scan: RootWatcher(self._roots, scan),
            on_models=self._on_models,
            is_busy=self._is_busy,
            rescan_s=lambda: settings().rescan_s,
            on_look=self._on_look,
            unwritten=self.unwritten,
        )
        self.admin = Admin(self.catalog, sessions=self.pool.snapshot, upkeep=self.upkeep, listing=self.listing)
        self.answers = Answers(
            self.catalog,
            self.pool,
            self.learner,
            request_timeout_s=lambda: settings().request_timeout_s,
            limits=Derived(settings, lambda now: AnswerLimits(choices=now.max_choices, tokens=now.max_answer_tokens)),
            logs_prompts=lambda: settings().log_prompts,
            metrics=self.metrics,
        )
        self.gauges = Gauges(
            metrics=self.metrics,
            sessions=self.pool.snapshot,
            models=self.catalog.models,
            problems=lambda: len(self.catalog.problems()),
            events=self.events.published,
            followers=lambda: self.events.followers,
            log_drops=lambda: logs.dropped,
        )
        self.loads = Loads(self.catalog, self.pool)
        self.tuner = Tuner(self.catalog, self.pool, self.catalog.tunings, within_s=lambda: settings().tune_time_s)
        settings.follow(lambda _now: self._on_loop(self._follow_settings))
        self._config = paths.config
        self._launcher = launcher
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._has_only_demo = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scan and watch while the context is open; drain and stop everything when it closes."""
        self._loop = asyncio.get_running_loop()
        tasks = [
            asyncio.create_task(self.upkeep.run(), name="upkeep"),
            asyncio.create_task(self._know_the_machine(), name="machine"),
            asyncio.create_task(self.learner.run(), name="learner"),
            asyncio.create_task(self.pool.run(), name="pool"),
            asyncio.create_task(self._keep_warm(), name="warm"),
            asyncio.create_task(self._launcher.warm(), name="spare"),
            asyncio.create_task(follow_file(self._config, self.settings.reload), name="settings"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.stopped()
            await self._launcher.close()
            await asyncio.to_thread(self.learner.write)
            self.conversations.close()
            await self.proofs.written()
            self.registry.close()

    async def _know_the_machine(self) -> None:
        """Its hardware, before anybody asks for it; and its speed, when nothing else is going on that would disturb."""
        hardware = await asyncio.to_thread(self.machine.hardware)
        self.pool.share_cores(core_groups(hardware.cpu.usable_cores))
        await asyncio.to_thread(importlib.import_module, "selector.classify")  # 0.1 s, not for the first request
        await asyncio.sleep(MEASURE_AFTER_S)
        while not self.upkeep.is_ready or self._is_busy():  # noqa: ASYNC110 - the pool tells nobody when it rests
            await asyncio.sleep(MEASURE_AFTER_S)
        await asyncio.to_thread(self.machine.probe)

    async def _keep_warm(self) -> None:
        await self.upkeep.ready.wait()
        await self.warm.run(self.catalog)

    def begin_stop(self) -> None:
        """Any thread, also a signal handler: refuse new requests and drain from now on. ``stopped`` waits for the end.

        The web server waits for running responses before it ends the application, so this cannot wait for that.
        """
        self._on_loop(self._close)

    async def stopped(self) -> None:
        """Begin to stop, and return when the last answer is done and every model's process has ended."""
        await asyncio.shield(self._close())

    def _close(self) -> asyncio.Task[None]:
        self.events.close()
        if self._closing is None:
            answers = sum(session.active for session in self.pool.snapshot())
            log.info("daemon.stopping answers=%d at_most_s=%g", answers, self.settings().drain_timeout_s)
            self._closing = asyncio.create_task(self.pool.close(), name="drain")
        return self._closing

    def status(self) -> Json:
        """The part of the status that the process itself knows; the address is the command line's to add."""
        sessions = self.pool.snapshot()
        return {
            "running": True,
            "pid": os.getpid(),
            "version": __version__,
            "models": sum(m.status is Status.READY for m in self.catalog.models(include_missing=False)),
            "problems": len(self.catalog.problems()),
            "sessions": len(sessions),
            "failures": {s.model_id: failure_json(s) for s in sessions if s.failure is not None},
            "unwritten": [unwritten_json(trouble) for trouble in self.unwritten.now()],
            "subscribers": self.events.followers,
            "recovered": recovery_json(self.registry.recovered) if self.registry.recovered is not None else None,
            "uptime_s": round(time.monotonic() - self.started_s, 1),
            **self.upkeep.status(),
        }

    def _on_look(self) -> None:
        """Any thread, every other second: what other processes may have changed, and what could not be written yet."""
        self.access.refresh()
        self.conversations.write_pending()

    def _on_models(self, models: Sequence[Model]) -> None:
        """Any thread: these are the models there are."""
        self.listing.refresh(models)
        self.learner.follow(models, self.registry.measurements())
        self.catalog.chooser.prepare()
        ready = {model.id: model for model in models if model.status is Status.READY}
        self._say_if_only_demo(ready.values())
        self._on_loop(lambda: self._follow(ready))

    def _follow(self, ready: Mapping[str, Model]) -> None:
        self.answers.forget_meanings()
        self.pool.keep_only(ready)
        self.warm.look()

    def _follow_settings(self) -> None:
        """Of those that do not wait until somebody asks for something."""
        self.pool.retime(self.catalog.keep_alive_s)
        self.warm.look()

    def _say_if_only_demo(self, ready: Collection[Model]) -> None:
        had_only_demo = self._has_only_demo
        self._has_only_demo = bool(ready) and all(model.is_demo for model in ready)
        if self._has_only_demo and not had_only_demo:
            log.warning(
                "models.only_demo id=%s hint='this machine has no other model: answers come from the small demo model "
                "that ships with slmreg; add real ones with: slmreg roots add PATH'",
                ", ".join(model.id for model in ready),
            )

    def _on_loop(self, act: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act, context=contextvars.Context())  # not in the name of a request

    def _headroom_bytes(self) -> int:
        return headroom_bytes(self.machine.hardware(), self.settings().memory_reserve_bytes)

    def _roots(self) -> list[Root]:
        """As the watcher sees them: each with the time that its folders have to be still."""
        settle_s = self.settings().settle_s
        return [replace(each, settle_s=settle_s) if each.settle_s is None else each for each in self.catalog.roots()]

    def _held_back(self) -> tuple[HeldBack, ...]:
        return tuple(
            HeldBack(s.model_id, s.failure, s.retry_s)
            for s in self.pool.snapshot()
            if s.failure is not None and s.retry_s
        )

    def _session_facts(self) -> tuple[SessionFacts, ...]:
        return tuple(
            SessionFacts(
                s.model_id,
                s.resident_bytes,
                is_reclaimable=s.active == 0 and s.queued == 0 and not s.is_kept,
                # One that is kept warm has its task, however long nobody asked.
                idle_s=0.0 if s.warm_for else s.idle_s,
                context_tokens=s.context_tokens,
                promised_bytes=s.promised_bytes,
                is_kept=s.is_kept,
            )
            for s in self.pool.snapshot()
            if s.state in (SessionState.READY, SessionState.LOADING)
        )

    def _is_busy(self) -> bool:
        return any(session.active or session.queued for session in self.pool.snapshot())


def create_app(
    settings: PresentSettings,
    paths: Paths,
    environment: Mapping[str, str] = os.environ,
    launcher: Launcher | None = None,
    *,
    command_line_key: str | None = None,
    logs: Logs | None = None,
) -> FastAPI:
    """The whole daemon as an ASGI app. Raises DatabaseError if the registry cannot be opened.

    ``command_line_key`` lets in, where keys are required, whoever can read the file that it is written to.
    ``logs`` are those of this process, whose levels can be changed; absent: nobody has set any up.
    ``app.state.begin_stop`` is for whoever runs it to call as soon as it is asked to stop, ``app.state.stopped`` to
    wait for until it stops listening; ``app.state.ready`` returns when it can answer.
    """
    start = settings()
    launcher = launcher or ProcessLauncher(keeps_spare=start.spare_worker, hang_timeout_s=start.hang_timeout_s)
    logs = logs or Logs(start)
    daemon = Daemon(settings, paths, environment, launcher, command_line_key, logs)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with daemon.running():
            yield

    # FastAPI's own pages load their scripts from a CDN, and its document knows few of our answers: see docs_router.
    app = FastAPI(title="slmreg", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.begin_stop, app.state.stopped = daemon.begin_stop, daemon.stopped
    app.state.ready = daemon.upkeep.ready.wait
    forms = frozenset({TRANSCRIPTIONS_PATH, TRANSLATIONS_PATH})
    app.add_middleware(Turnstile, answers=daemon.answers)
    app.add_middleware(Guard, access=daemon.access, settings=settings, form_paths=forms)
    app.add_middleware(Accounting, metrics=daemon.metrics)
    install_error_handlers(app)
    for router in (docs_router(app), *_routers(daemon, paths, logs)):
        app.include_router(router)
    return app


def _routers(daemon: Daemon, paths: Paths, logs: Logs) -> Iterator[APIRouter]:
    """What the daemon answers, in the order in which it is looked through."""
    settings = daemon.settings

    def max_messages() -> int:
        return settings().max_messages

    yield models_router(daemon.admin)
    yield openai_router(daemon.answers, max_messages=max_messages)
    yield responses_router(daemon.answers, daemon.conversations, max_messages=max_messages)
    yield completions_router(daemon.answers)
    yield anthropic_router(daemon.answers, max_messages=max_messages)
    yield reasoning_router(daemon.answers, daemon.catalog, daemon.pool)
    yield audio_router(daemon.answers)
    yield ollama_router(daemon.answers, daemon.loads, daemon.catalog, daemon.pool, max_messages=max_messages)
    yield embeddings_router(daemon.answers)
    yield registry_router(daemon.admin, daemon.status)
    yield choice_router(daemon.admin)
    yield presets_router(daemon.admin)
    yield settings_router(settings, paths.config)
    yield events_router(daemon.events, heartbeat_s=lambda: settings().heartbeat_s)
    yield metrics_router(Exposition(daemon.gauges.read))
    yield logs_router(logs.levels)
    yield sessions_router(daemon.loads, daemon.pool)
    yield tune_router(daemon.tuner)
    yield foundry_router(daemon.catalog)
    yield foundry_sessions_router(daemon.catalog, daemon.loads, daemon.pool)
    yield health_router(lambda: daemon.upkeep.is_ready)
    yield front_router()


def _bounds(settings: Settings) -> Bounds:
    return Bounds(settings.max_responses, settings.max_responses_bytes, settings.response_ttl_s)


def _limits(settings: Settings, budget_bytes: int | None) -> PoolLimits:
    return PoolLimits(
        budget_bytes=budget_bytes,
        max_concurrent=settings.max_concurrent,
        max_queue=settings.max_queue,
        load_timeout_s=settings.load_timeout_s,
        queue_timeout_s=settings.queue_timeout_s,
        drain_timeout_s=settings.drain_timeout_s,
        failed_retry_s=settings.failed_retry_s,
        max_queue_total=settings.max_queue_total,
        evict_timeout_s=settings.evict_timeout_s,
        prefill_chunk_tokens=settings.prefill_chunk_tokens,
        kept_prefixes=settings.kept_prefixes,
        max_itl_ms=settings.max_itl_ms,
        draft_tokens=settings.draft_tokens,
        engine=settings.engine,
    )
