"""The daemon as an ASGI app: which routes there are, and what every request passes first."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping

from fastapi import APIRouter, FastAPI

from daemon import __version__
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
from daemon.config.present import PresentSettings
from daemon.logs.logs import Logs
from daemon.metrics.exposition import Exposition
from daemon.parts import build_parts
from daemon.paths import Paths
from daemon.pool.launch import Launcher, ProcessLauncher
from daemon.running import Daemon


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
    parts = build_parts(settings, paths, environment, launcher, command_line_key=command_line_key, logs=logs)
    daemon = Daemon(parts, paths.config)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with daemon.running():
            yield

    # FastAPI's own pages load their scripts from a CDN, and its document knows few of our answers: see docs_router.
    app = FastAPI(title="slmreg", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.begin_stop, app.state.stopped = daemon.begin_stop, daemon.stopped
    app.state.ready = daemon.upkeep.ready.wait
    forms = frozenset({TRANSCRIPTIONS_PATH, TRANSLATIONS_PATH})
    app.add_middleware(Turnstile, answers=parts.answers)
    app.add_middleware(Guard, access=parts.access, settings=settings, form_paths=forms)
    app.add_middleware(Accounting, metrics=parts.records.metrics)
    install_error_handlers(app)
    for router in (docs_router(app), *_routers(daemon, paths, logs)):
        app.include_router(router)
    return app


def _routers(daemon: Daemon, paths: Paths, logs: Logs) -> Iterator[APIRouter]:
    """What the daemon answers, in the order in which it is looked through."""
    parts, admin = daemon.parts, daemon.admin
    settings, answers, catalog, loads, pool = parts.settings, parts.answers, parts.catalog, parts.loads, parts.pool

    def max_messages() -> int:
        return settings().max_messages

    yield models_router(admin)
    yield openai_router(answers, max_messages=max_messages)
    yield responses_router(answers, parts.storage.conversations, max_messages=max_messages)
    yield completions_router(answers)
    yield anthropic_router(answers, max_messages=max_messages)
    yield reasoning_router(answers, catalog, pool)
    yield audio_router(answers)
    yield ollama_router(answers, loads, catalog, pool, max_messages=max_messages)
    yield embeddings_router(answers)
    yield registry_router(admin, daemon.status)
    yield choice_router(admin)
    yield presets_router(admin)
    yield settings_router(settings, paths.config)
    yield events_router(parts.records.events, heartbeat_s=lambda: settings().heartbeat_s)
    yield metrics_router(Exposition(parts.gauges.read))
    yield logs_router(logs.levels)
    yield sessions_router(loads, pool)
    yield tune_router(parts.tuner)
    yield foundry_router(catalog)
    yield foundry_sessions_router(catalog, loads, pool)
    yield health_router(lambda: daemon.upkeep.is_ready)
    yield front_router()
