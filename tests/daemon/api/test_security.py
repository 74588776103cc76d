"""Every route there is, against what a web page in the user's browser could send."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from daemon.app import create_app
from daemon.settings import Paths, Settings
from tests.fakes import FakeLauncher

GOOD = {"host": "127.0.0.1:7567"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """Never started: nothing is scanned, and no request should get that far."""
    home = tmp_path_factory.mktemp("home")
    environment = {"SLMREG_HOME": str(home), "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
    paths = Paths.from_environment(environment)
    app = create_app(Settings(max_body_bytes=8192), paths, environment, FakeLauncher())
    yield app
    asyncio.run(start_and_stop(app))


async def start_and_stop(app: FastAPI) -> None:
    """What is opened when an app is made is closed when it stops."""
    async with app.router.lifespan_context(app):
        pass


def routes(app: FastAPI) -> list[tuple[str, str]]:
    found = [
        (method, route.path)
        for route in _flatten(app.routes)
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    assert len(found) > 10
    return [*found, ("GET", "/openapi.json"), ("POST", "/no/such/route")]


def assert_refused(response: httpx.Response, path: str, status: int, code: str) -> None:
    """In the form of the API that ``path`` belongs to; Ollama's has no code, and the answer to HEAD no words."""
    if response.request.method == "HEAD":
        assert response.status_code == status, path
        return
    error = response.json()["error"]
    if path.startswith("/api/"):
        assert (response.status_code, set(response.json()), type(error)) == (status, {"error"}, str), path
    else:
        assert (response.status_code, error["code"]) == (status, code), path


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


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]:7567", "192.168.0.4:7567", "[:"])
def test_a_foreign_host_is_refused_on_every_route(app: FastAPI, host: str) -> None:
    for method, path in routes(app):
        response = call(app, method, path, {"host": host})
        assert_refused(response, path, 403, "host_not_allowed")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://["]
)
def test_a_foreign_origin_is_refused_on_every_route(app: FastAPI, origin: str) -> None:
    for method, path in routes(app):
        response = call(app, method, path, {**GOOD, "origin": origin})
        assert_refused(response, path, 403, "origin_not_allowed")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_skips_the_preflight_is_refused_on_every_route(app: FastAPI, kind: str) -> None:
    for method, path in routes(app):
        if method in ("POST", "DELETE") and not (kind == "multipart/form-data" and path.startswith("/v1/audio/")):
            response = call(app, method, path, {**GOOD, "content-type": kind}, content=b'{"task": "chat"}')
            assert_refused(response, path, 415, "json_required")


def test_nothing_changes_on_get(app: FastAPI) -> None:
    changing = {"scan", "load", "unload", "select", "completions", "chat", "generate", "create", "copy", "delete"}
    for method, path in routes(app):
        if path.rsplit("/", 1)[-1] in changing:
            assert method != "GET", path


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7567", "127.0.0.1", "127.0.0.2:80", "[::1]:7567", "LOCALHOST:1"]
)
def test_this_machine_is_welcome_under_its_names(app: FastAPI, host: str) -> None:
    assert call(app, "GET", "/healthz", {"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8080", "https://[::1]"])
def test_local_pages_are_welcome(app: FastAPI, origin: str) -> None:
    assert call(app, "GET", "/healthz", {**GOOD, "origin": origin}).status_code == 200


def test_the_body_limit_holds_with_and_without_an_announced_length(app: FastAPI) -> None:
    async def pieces() -> Any:
        for _ in range(4):
            yield b"x" * 4000

    headers = {**GOOD, "content-type": "application/json"}
    for content in (b"x" * 16_000, pieces()):
        response = call(app, "POST", "/slmreg/select", headers, content)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "value", [b"[" * 900 + b"]" * 900, b"[" * 1000, b"9" * 1900, b"9" * 5000, b'"\\ud800"', b"NaN", b"1e999"]
)
def test_json_that_breaks_parsers_is_an_error_and_not_a_crash(app: FastAPI, value: bytes) -> None:
    headers = {**GOOD, "content-type": "application/json"}
    for body in (b'{"task": ' + value + b"}", b'{"task": "chat", "context_tokens": ' + value + b"}"):
        response = call(app, "POST", "/slmreg/select", headers, body)
        assert response.status_code == 400
        assert response.json()["error"]["message"]


def test_readiness_is_503_until_the_first_scan(app: FastAPI) -> None:
    assert call(app, "GET", "/readyz", GOOD).status_code == 503


def test_the_app_can_be_built_twice_in_one_process(tmp_path: Path) -> None:
    for name in ("one", "two"):
        environment = {"SLMREG_HOME": str(tmp_path / name)}
        app = create_app(Settings(), Paths.from_environment(environment), environment, FakeLauncher())
        asyncio.run(start_and_stop(app))


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
def test_a_form_is_taken_where_a_file_is_uploaded_and_from_no_other_site(app: FastAPI, path: str) -> None:
    """Whatever the form then lacks: it got as far as the route."""
    form = {**GOOD, "content-type": "multipart/form-data; boundary=x"}
    for fetched in ({}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        assert call(app, "POST", path, form | fetched, content=b"--x--\r\n").status_code == 400
    foreign = call(app, "POST", path, {**form, "sec-fetch-site": "cross-site"}, content=b"--x--\r\n")
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "origin_not_allowed")
    large = call(app, "POST", path, form, content=b"x" * 8193)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
