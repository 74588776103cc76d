"""An application that is never started, to be asked what gets past its guard."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from daemon.access import digest_of
from daemon.app import create_app
from daemon.config.layers import Effective
from daemon.config.present import PresentSettings
from daemon.paths import Paths
from daemon.settings import Settings
from registry.model import ApiKey, KeyScope
from registry.store import Registry
from tests.fakes import FakeLauncher

HOST = {"host": "127.0.0.1:7567"}
JSON = {**HOST, "content-type": "application/json"}
# Keys that exist where an application is made with keys.
USE_KEY, ADMIN_KEY, COMMAND_LINE_KEY = "sk-slmreg-use", "sk-slmreg-admin", "of the run file"


@contextmanager
def guarded(home: Path, *, has_keys: bool = False, **settings: Any) -> Iterator[FastAPI]:
    """Nothing is scanned, and nothing that a test sends should get so far that it would need to be."""
    environment = {"SLMREG_HOME": str(home), "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
    paths = Paths.from_environment(environment)
    if has_keys:
        with Registry.open(paths.database) as registry:
            for name, key, scope in (("u", USE_KEY, KeyScope.USE), ("a", ADMIN_KEY, KeyScope.ADMIN)):
                registry.add_key(ApiKey(name, scope, digest_of(key), 1.0))
    chosen = PresentSettings(Effective(Settings(**settings)))
    app = create_app(chosen, paths, environment, FakeLauncher(), command_line_key=COMMAND_LINE_KEY)
    yield app
    asyncio.run(start_and_stop(app))


async def start_and_stop(app: FastAPI) -> None:
    """What is opened when an app is made is closed when it stops."""
    async with app.router.lifespan_context(app):
        pass


def templates(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path, as it was declared, of every route there is."""
    found = [
        (method, route.path)
        for route in _flatten(app.routes)
        if hasattr(route, "path")
        for method in sorted(getattr(route, "methods", None) or ())
        if isinstance(route, APIRoute) or method != "HEAD"
    ]
    assert len(found) > 10
    return found


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Those with something in place of their parameters, and one that is not there.

    Without HEAD, whose answers have no words: the guard takes it for GET.
    """
    there = [(method, concrete(path)) for method, path in templates(app) if method != "HEAD"]
    return [*there, ("POST", "/no/such/route")]


def concrete(path: str) -> str:
    return re.sub(r"\{\w+(:path)?\}", "x", path)


def _flatten(routes: Any) -> list[Any]:
    flat: list[Any] = []
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        flat += _flatten(inner) if inner else [route]
    return flat


def call(app: FastAPI, method: str, path: str, headers: dict[str, str], content: Any = None) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7567") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(go())


def refused(response: httpx.Response) -> tuple[int, str]:
    """The status and our code, wherever the API of the path has a place for it."""
    body = response.json()
    error = body["error"]
    if not isinstance(error, dict):
        return response.status_code, body["code"]
    return response.status_code, error["code"] if "code" in error else error["details"]["error_code"]
