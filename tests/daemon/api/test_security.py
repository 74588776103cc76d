"""Every route there is, against what a web page in the user's browser, or a stranger, could send."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from daemon.api.scopes import listed_scope
from daemon.app import create_app
from daemon.config.layers import Effective
from daemon.config.present import PresentSettings
from daemon.paths import Paths
from daemon.settings import Settings
from registry.model import KeyScope
from tests.daemon.api.guarded import (
    ADMIN_KEY,
    COMMAND_LINE_KEY,
    HOST,
    JSON,
    USE_KEY,
    call,
    guarded,
    refused,
    routes,
    start_and_stop,
)
from tests.fakes import FakeLauncher

MAX_BODY_BYTES = 8192
FORMS = ("/v1/audio/transcriptions", "/v1/audio/translations")
# All that anybody may read without a key, whatever there is; what is not in here has to be refused.
OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/docs"),
    ("GET", "/docs/docs.css"),
    ("GET", "/docs/docs.js"),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """Without keys."""
    with guarded(tmp_path_factory.mktemp("home"), max_body_bytes=MAX_BODY_BYTES) as app:
        yield app


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """With keys."""
    with guarded(tmp_path_factory.mktemp("locked"), has_keys=True) as app:
        yield app


# -- from where


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]:7567", "192.168.0.4:7567", "[:"])
def test_a_foreign_host_is_refused_on_every_route(app: FastAPI, host: str) -> None:
    for method, path in routes(app):
        assert refused(call(app, method, path, {"host": host})) == (403, "host_not_allowed"), path


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://["]
)
def test_a_foreign_origin_is_refused_on_every_route(app: FastAPI, origin: str) -> None:
    for method, path in routes(app):
        assert refused(call(app, method, path, {**HOST, "origin": origin})) == (403, "origin_not_allowed"), path


def test_a_preflight_is_answered_for_pages_that_are_welcome_and_no_others_on_every_route(locked: FastAPI) -> None:
    asked = {**HOST, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for _method, path in routes(locked):
        welcome = call(locked, "OPTIONS", path, {**asked, "origin": "http://localhost:3000"})
        assert (welcome.status_code, welcome.text) == (204, ""), path
        assert welcome.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert welcome.headers["access-control-allow-headers"] == "authorization"
        assert "POST" in welcome.headers["access-control-allow-methods"]
        foreign = call(locked, "OPTIONS", path, {**asked, "origin": "https://evil.example"})
        assert refused(foreign) == (403, "origin_not_allowed"), path
        assert "access-control-allow-origin" not in foreign.headers


def test_what_a_page_embeds_without_an_origin_is_refused_and_a_link_is_not(app: FastAPI) -> None:
    embedded = {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    for method, path in routes(app):
        assert refused(call(app, method, path, embedded)) == (403, "origin_not_allowed"), path
    clicked = {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert call(app, "GET", "/healthz", clicked).status_code == 200
    assert refused(call(app, "POST", "/slmreg/scan", clicked)) == (403, "origin_not_allowed")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7567", "127.0.0.1", "127.0.0.2:80", "[::1]:7567", "LOCALHOST:1"]
)
def test_this_machine_is_welcome_under_its_names(app: FastAPI, host: str) -> None:
    assert call(app, "GET", "/healthz", {"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8080", "https://[::1]"])
def test_local_pages_are_welcome_and_may_read_the_answer(app: FastAPI, origin: str) -> None:
    response = call(app, "GET", "/healthz", {**HOST, "origin": origin})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
    assert "x-request-id" in response.headers["access-control-expose-headers"]
    assert response.headers["vary"] == "Origin"


def test_hosts_and_origins_of_the_settings_are_welcome_too(tmp_path: Path) -> None:
    origins = ("https://app.example:8443", "tauri://localhost")
    with guarded(tmp_path, allowed_hosts=("My-Machine.local",), allowed_origins=origins) as app:
        for origin in origins:
            headers = {"host": "my-machine.local:7567", "origin": origin}
            assert call(app, "GET", "/healthz", headers).status_code == 200
        for host, origin in (("other.local", origins[0]), ("localhost", "https://app.example")):
            assert call(app, "GET", "/healthz", {"host": host, "origin": origin}).status_code == 403


def test_a_page_of_ours_may_use_us_under_every_name_that_we_have(tmp_path: Path) -> None:
    with guarded(tmp_path, host="0.0.0.0", allowed_hosts=("my-machine.local",)) as app:  # noqa: S104
        for place in ("192.168.0.4:7567", "[fe80::1]:7567", "my-machine.local"):
            for origin in (f"http://{place}", f"https://{place}".upper()):
                assert call(app, "GET", "/healthz", {"host": place, "origin": origin}).status_code == 200, origin
            for origin in (
                f"ftp://{place}",
                place,
                f"http://{place}:80",
                f"http://x@{place}",
                "http://192.168.0.5:7567",
            ):
                foreign = call(app, "GET", "/healthz", {"host": place, "origin": origin})
                assert refused(foreign) == (403, "origin_not_allowed"), origin
        rebound = {"host": "rebound.example", "origin": "http://rebound.example"}
        assert refused(call(app, "GET", "/healthz", rebound)) == (403, "host_not_allowed")


def test_a_public_address_takes_literal_addresses_and_no_names_and_always_a_key(tmp_path: Path) -> None:
    with guarded(tmp_path, host="0.0.0.0") as app:  # noqa: S104
        assert call(app, "GET", "/healthz", {"host": "192.168.0.4:7567"}).status_code == 200
        assert refused(call(app, "GET", "/healthz", {"host": "rebound.example"})) == (403, "host_not_allowed")
        assert call(app, "GET", "/v1/models", {"host": "192.168.0.4"}).status_code == 401


# -- who


def test_every_route_says_what_it_takes(app: FastAPI) -> None:
    """A new route without a row in the table of ``daemon.api.scopes`` needs an admin's key, which few have."""
    unlisted = [(method, path) for method, path in routes(app) if listed_scope(method, path) is None]
    assert unlisted == [("POST", "/no/such/route")]


def test_what_changes_something_takes_an_admins_key(app: FastAPI) -> None:
    asking = {"/slmreg/select", "/v1/chat/completions", "/v1/embeddings", *FORMS}
    changing = [(method, path) for method, path in routes(app) if method not in ("GET", "HEAD") and path not in asking]
    assert len(changing) >= 7
    for method, path in changing:
        if not path.startswith(("/v1/", "/api/", "/reasoning")):
            assert listed_scope(method, path) in (KeyScope.ADMIN, None), path


def test_without_keys_nobody_needs_one(app: FastAPI) -> None:
    for headers in ({}, {"authorization": "Bearer none"}, {"x-api-key": "whatever"}):
        assert call(app, "GET", "/v1/models", HOST | headers).status_code == 200


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"authorization": "Bearer none"},
        {"authorization": f"Bearer {USE_KEY}x"},
        {"authorization": f"Basic {USE_KEY}"},
        {"authorization": "Bearer "},
        {"x-api-key": ""},
        {"x-api-key": "k" * 1000},
    ],
)
def test_as_soon_as_there_are_keys_every_route_takes_one(locked: FastAPI, shown: dict[str, str]) -> None:
    for method, path in routes(locked):
        response = call(locked, method, path, HOST | shown)
        if (method, path) in OPEN:
            assert response.status_code in (200, 503)
        else:
            assert refused(response) == (401, "invalid_api_key"), path
            assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("as_header", [lambda key: {"authorization": f"bearer {key}"}, lambda key: {"x-api-key": key}])
def test_a_key_is_good_for_what_its_scope_says_on_every_route(locked: FastAPI, as_header: Any) -> None:
    """What comes after the guard refuses the content of these requests: nothing is done."""
    for method, path in routes(locked):
        takes = listed_scope(method, path) or KeyScope.ADMIN
        headers = {**HOST, "content-type": "text/plain"}
        body = {} if method == "GET" else {"content": b"x"}
        if path == "/slmreg/events":
            continue  # it does not end
        used = call(locked, method, path, headers | as_header(USE_KEY), **body)
        if takes is KeyScope.USE:
            assert used.status_code not in (401, 403), path
        else:
            assert refused(used) == (403, "insufficient_scope"), path
        for key in (ADMIN_KEY, COMMAND_LINE_KEY):
            assert call(locked, method, path, headers | as_header(key), **body).status_code not in (401, 403), path


def test_what_is_open_is_open_to_reading_alone(locked: FastAPI) -> None:
    assert set(routes(locked)) >= OPEN
    for _method, path in OPEN:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"):
            assert refused(call(locked, method, path, HOST)) == (401, "invalid_api_key"), (method, path)
        for beside in (f"{path}/", f"{path}/x", path.upper(), f"{path}%2f..", f"{path};x"):
            assert refused(call(locked, "GET", beside, HOST)) == (401, "invalid_api_key"), beside


def test_a_key_can_be_required_before_there_is_one(tmp_path: Path) -> None:
    with guarded(tmp_path, require_key=True) as app:
        assert call(app, "GET", "/v1/models", HOST).status_code == 401
        shown = {"authorization": f"Bearer {COMMAND_LINE_KEY}"}
        assert call(app, "GET", "/v1/models", HOST | shown).status_code == 200


# -- what


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_skips_the_preflight_is_refused_on_every_route(app: FastAPI, kind: str) -> None:
    for method, path in routes(app):
        if not (kind == "multipart/form-data" and path in FORMS):
            response = call(app, method, path, {**HOST, "content-type": kind}, content=b'{"task": "chat"}')
            assert refused(response) == (415, "json_required"), path


def test_a_body_of_no_kind_is_json_in_ollamas_api_unless_a_browser_may_have_sent_it(app: FastAPI) -> None:
    body = b'{"model": "none", "prompt": "hi"}'
    for path in ("/api/generate", "/api/embeddings"):
        assert refused(call(app, "POST", path, HOST, body)) == (404, "model_not_found")
        assert refused(call(app, "POST", path, HOST, b'{"model": 1e999}')) == (400, "invalid_json")
        for said in (
            {"referer": "http://127.0.0.1/"},
            {"sec-fetch-site": "same-origin"},
            {"origin": "http://localhost"},
        ):
            assert refused(call(app, "POST", path, {**HOST, **said}, body)) == (415, "json_required"), said
    assert refused(call(app, "POST", "/v1/completions", HOST, body)) == (415, "json_required")
    assert refused(call(app, "POST", "/api/pull", HOST)) == (501, "not_offered")


def test_a_compressed_body_is_refused_on_every_route(app: FastAPI) -> None:
    for method, path in routes(app):
        for encoding in ("gzip", "deflate, br"):
            response = call(app, method, path, {**JSON, "content-encoding": encoding}, content=b"{}")
            assert refused(response) == (415, "encoding_not_supported"), path


def test_nothing_changes_on_get(app: FastAPI) -> None:
    changing = {"scan", "load", "unload", "select", "completions"}
    for method, path in routes(app):
        if path.rsplit("/", 1)[-1] in changing:
            assert method != "GET", path


def test_no_route_takes_a_path(app: FastAPI) -> None:
    """Names of models only: what a request says never becomes the name of a file."""
    schemas = call(app, "GET", "/openapi.json", HOST).json()["components"]["schemas"]
    suspicious = {"path", "folder", "directory", "dir", "root", "filename", "file_path", "uri"}
    bodies = {name: schema for name, schema in schemas.items() if name.endswith(("Body", "Request"))}
    assert len(bodies) >= 6
    for name, schema in bodies.items():
        assert not suspicious & set(schema.get("properties", ())), name


def test_the_body_limit_holds_with_and_without_an_announced_length_on_every_route(app: FastAPI) -> None:
    async def pieces() -> Any:
        for _ in range(4):
            yield b"x" * 4000

    for method, path in routes(app):
        for content in (b"x" * 16_000, pieces()):
            assert refused(call(app, method, path, JSON, content)) == (413, "body_too_large"), path


@pytest.mark.parametrize("path", FORMS)
def test_a_form_is_taken_where_a_file_is_uploaded_and_from_no_other_site(app: FastAPI, path: str) -> None:
    """Whatever the form then lacks: it got as far as the route."""
    form = {**HOST, "content-type": "multipart/form-data; boundary=x"}
    for fetched in ({}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        assert call(app, "POST", path, form | fetched, content=b"--x--\r\n").status_code == 400
    foreign = call(app, "POST", path, {**form, "sec-fetch-site": "cross-site"}, content=b"--x--\r\n")
    assert refused(foreign) == (403, "origin_not_allowed")
    assert refused(call(app, "POST", path, form, content=b"x" * (MAX_BODY_BYTES + 1))) == (413, "body_too_large")


UNUSABLE_JSON = {
    "not UTF-8": b'{"task": "\xff"}',
    "UTF-16": '{"task": "chat"}'.encode("utf-16"),
    "deep": b'{"task": ' + b"[" * 900 + b"]" * 900 + b"}",
    "deeper": b"[" * 8000,
    "many parts": b"[" + b"[]," * 2600 + b"[]]",
    "many digits": b'{"context_tokens": ' + b"9" * 1900 + b"}",
    "more digits": b'{"context_tokens": ' + b"9" * 5000 + b"}",
    "too large": b'{"deadline_s": 1e999}',
    "no number": b'{"deadline_s": NaN}',
    "infinite": b'{"deadline_s": -Infinity}',
    "a key twice": b'{"task": "chat", "task": "code"}',
    "cut off": b'{"task": "cha',
    "two": b"{} {}",
    "nothing": b" ",
}


@pytest.mark.parametrize("body", UNUSABLE_JSON.values(), ids=UNUSABLE_JSON)
def test_json_that_is_not_usable_is_a_400_on_every_route(body: bytes, tmp_path: Path) -> None:
    with guarded(tmp_path, max_json_items=2500) as app:
        for method, path in routes(app):
            assert refused(call(app, method, path, JSON, body)) == (400, "invalid_json"), path


@pytest.mark.parametrize("value", [b'"\\ud800"', b"-0", b"9" * 40, b"1e308", b'"\\u0000"', b"[[]]"])
def test_what_is_json_but_no_sensible_value_is_a_400_and_not_a_crash(app: FastAPI, value: bytes) -> None:
    bodies = (b'{"task": ' + value + b"}", b'{"task": "chat", "context_tokens": ' + value + b"}")
    for body in bodies:
        response = call(app, "POST", "/slmreg/select", JSON, body)
        assert (response.status_code, bool(response.json()["error"]["message"])) == (400, True)


# -- what comes back


def test_every_response_has_the_id_of_its_request_and_errors_say_it_too(app: FastAPI) -> None:
    for given, is_taken in (("trace-1:a.B_2", True), ("a b", False), ("", False), ("x" * 200, False), ("a%b", False)):
        response = call(app, "GET", "/no/such/route", {**HOST, "x-request-id": given})
        used = response.headers["x-request-id"]
        assert response.json()["error"]["request_id"] == used
        assert (used == given) is is_taken
        assert len(used) >= 12
    assert len({call(app, "GET", "/healthz", HOST).headers["x-request-id"] for _ in range(3)}) == 3


def test_what_the_guard_refuses_is_in_the_form_of_the_api_that_was_asked(locked: FastAPI) -> None:
    ollama = call(locked, "POST", "/api/chat", HOST).json()
    assert (list(ollama), "API key" in ollama["error"]) == (["error", "code"], True)
    anthropic = call(locked, "POST", "/v1/messages", HOST).json()
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")


def test_one_client_has_only_so_many_requests_at_the_same_time(tmp_path: Path) -> None:
    """The first ones stay open: they follow the events."""

    async def follow(app: FastAPI, client: str, ends: asyncio.Event, path: str = "/slmreg/events") -> int:
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def receive() -> dict[str, Any]:
            await ends.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and not started.done():
                started.set_result(message["status"])

        scope = {
            **{"type": "http", "method": "GET", "path": path, "raw_path": path.encode()},
            **{"query_string": b"", "headers": [(b"host", b"localhost")], "client": (client, 1), "app": app},
        }
        running.append(asyncio.create_task(app(scope, receive, send)))
        return await started

    async def check(app: FastAPI) -> None:
        ends, later = asyncio.Event(), asyncio.Event()
        assert [await follow(app, "10.0.0.1", ends) for _ in range(3)] == [200, 200, 429]
        assert await follow(app, "10.0.0.2", ends) == 200
        assert await follow(app, "10.0.0.1", ends, "/docs") == 429
        assert await follow(app, "10.0.0.1", ends, "/healthz") == 200
        ends.set()
        await asyncio.gather(*running)
        assert await follow(app, "10.0.0.1", later) == 200
        later.set()
        await asyncio.gather(*running)

    running: list[asyncio.Task[None]] = []
    with guarded(tmp_path, max_client_requests=2) as app:
        asyncio.run(check(app))


def test_readiness_is_503_until_the_first_scan(app: FastAPI) -> None:
    assert call(app, "GET", "/readyz", HOST).status_code == 503


def test_the_app_can_be_built_twice_in_one_process(tmp_path: Path) -> None:
    for name in ("one", "two"):
        environment = {"SLMREG_HOME": str(tmp_path / name)}
        app = create_app(
            PresentSettings(Effective(Settings())), Paths.from_environment(environment), environment, FakeLauncher()
        )
        asyncio.run(start_and_stop(app))
