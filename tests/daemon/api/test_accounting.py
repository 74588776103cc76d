"""What the log and the metrics say of requests, and who may read and change that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive, Scope, Send

from daemon.api.accounting import Accounting
from daemon.api.scopes import template_of
from daemon.logs.line import Line, line_of
from daemon.metrics import families
from daemon.metrics.book import Metrics
from tests.daemon.api.guarded import (
    ADMIN_KEY,
    HOST,
    JSON,
    USE_KEY,
    call,
    concrete,
    guarded,
    refused,
    templates,
)
from tests.fakes import on_loop

pytestmark = pytest.mark.usefixtures("levels_as_before")

CANARY = "canary-in-the-coal-mine"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    with guarded(tmp_path) as app:
        yield app


class Lines(logging.Handler):
    """The access log, made into lines while the request is still known."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(line_of(record))


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    handler = Lines()
    log = logging.getLogger("slmreg.access")
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    yield handler.all
    log.removeHandler(handler)


def counted(app: FastAPI) -> dict[tuple[str, str, str], float]:
    text = call(app, "GET", "/metrics", HOST).text
    (metric,) = [each for each in text_string_to_metric_families(text) if each.name == "slmreg_requests"]
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for sample in metric.samples
    }


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "route", "status"),
    [
        ("GET", f"/v1/models/{CANARY}?q={CANARY}", {}, None, "/v1/models/{model:path}", 404),
        ("GET", f"/{CANARY}", {}, None, "other", 404),
        ("POST", "/v1/models", JSON, "{}", "other", 405),
        ("POST", "/v1/chat/completions", JSON, f'{{"model": "{CANARY}", "x": 1}}', "/v1/chat/completions", 400),
        ("POST", "/v1/chat/completions", {"content-type": "text/plain"}, CANARY, "/v1/chat/completions", 415),
        ("GET", "/slmreg/pins", {"host": f"{CANARY}.example"}, None, "/slmreg/pins", 403),
        ("HEAD", "/healthz", {}, None, "/healthz", 405),
        ("GET", "/healthz", {}, None, "/healthz", 200),
    ],
)
def test_every_request_has_one_line_with_the_template_of_its_route(
    method: str,
    path: str,
    headers: dict[str, str],
    body: str | None,
    route: str,
    status: int,
    app: FastAPI,
    lines: list[Line],
) -> None:
    response = call(app, method, path, {**HOST, "x-request-id": "my-id", **headers}, body)
    assert response.status_code == status
    (line,) = lines
    assert {key: value for key, value in line.fields.items() if key != "duration_ms"} == {
        "method": method,
        "route": route,
        "status": status,
    }
    assert isinstance(line.fields["duration_ms"], float)
    assert line.request_id == "my-id"
    assert CANARY not in line.message
    assert line.level == ("debug" if status == 200 else "info")


def test_requests_are_counted_by_route_method_and_class_of_the_status(app: FastAPI) -> None:
    for path in ("/slmreg/pins", "/slmreg/pins", "/v1/models/a", "/v1/models/b", "/x"):
        call(app, "GET", path, HOST)
    assert counted(app) == {
        ("GET", "/slmreg/pins", "2xx"): 2,
        ("GET", "/v1/models/{model:path}", "4xx"): 2,
        ("GET", "other", "4xx"): 1,
    }
    assert counted(app)["GET", "/metrics", "2xx"] == 1


def test_what_clients_make_up_does_not_become_labels(app: FastAPI) -> None:
    for number in range(300):
        call(app, "GET", f"/made/up/{number}", HOST)
        call(app, f"MADE{number}", "/v1/models", HOST)
        call(app, "POST", "/slmreg/unload", JSON, f'{{"model": "made-up-{number}"}}')
        call(app, "GET", f"/v1/models/made-up-{number}", HOST)
    text = call(app, "GET", "/metrics", HOST).text
    assert "made" not in text.lower()
    assert len(counted(app)) == 5  # and the scrape before
    assert len(text.splitlines()) < 500


def test_every_route_has_a_template(app: FastAPI) -> None:
    for method, path in templates(app):
        found = template_of(method, concrete(path))
        assert found is not None
        assert concrete(found) == concrete(path)


async def _never(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError(CANARY)


async def _silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """The client left before there was anything to say."""


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _unheard(_message: Message) -> None:
    raise AssertionError("nothing was to be sent")


@on_loop
async def test_bugs_and_clients_that_leave_are_counted_too() -> None:
    metrics = Metrics()
    scope = {"type": "http", "method": "GET", "path": "/healthz"}
    with pytest.raises(RuntimeError):
        await Accounting(_never, metrics=metrics)(scope, _nothing, _unheard)
    await Accounting(_silent, metrics=metrics)(scope, _nothing, _unheard)
    with pytest.raises(asyncio.CancelledError):
        await Accounting(_cancelled, metrics=metrics)(scope, _nothing, _unheard)
    read = {family: {sample.labels: sample.value for sample in samples} for family, samples in metrics.read()}
    assert read[families.IN_FLIGHT] == {(): 0}
    assert read[families.REQUESTS] == {("/healthz", "GET", "5xx"): 1, ("/healthz", "GET", "4xx"): 2}


async def _cancelled(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise asyncio.CancelledError


def bearer(key: str) -> dict[str, str]:
    return {**JSON, "authorization": f"Bearer {key}"}


def test_metrics_are_for_whoever_may_ask_and_levels_for_admins(tmp_path: Path) -> None:
    change = '{"levels": {"slmreg.pool": "debug"}}'
    with guarded(tmp_path, has_keys=True) as app:
        assert refused(call(app, "GET", "/metrics", HOST)) == (401, "invalid_api_key")
        assert call(app, "GET", "/metrics", bearer(USE_KEY)).status_code == 200
        assert call(app, "GET", "/slmreg/logs/levels", bearer(USE_KEY)).status_code == 200
        denied = call(app, "PUT", "/slmreg/logs/levels", bearer(USE_KEY), change)
        assert refused(denied) == (403, "insufficient_scope")
        assert call(app, "PUT", "/slmreg/logs/levels", bearer(ADMIN_KEY), change).json() == {
            "levels": {"slmreg": "info", "slmreg.pool": "debug"}
        }


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"levels": {"slmreg.pol": "debug"}}, "slmreg.pool"),
        ({"levels": {"slmreg.pool": "loud"}}, "debug"),
        ({"levels": {f"x{number}": "debug" for number in range(101)}}, "100"),
        ({}, "levels"),
    ],
)
def test_a_level_that_cannot_be_set_is_refused_and_says_why(body: Any, hint: str, app: FastAPI) -> None:
    import json

    response = call(app, "PUT", "/slmreg/logs/levels", JSON, json.dumps(body))
    assert response.status_code == 400
    assert hint in response.json()["error"]["message"]
    assert call(app, "GET", "/slmreg/logs/levels", HOST).json() == {"levels": {"slmreg": "info"}}


def test_openmetrics_is_for_who_accepts_it(app: FastAPI) -> None:
    for accept, expected in (
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0"),
        ("text/plain", "text/plain; version=0.0.4"),
    ):
        response = call(app, "GET", "/metrics", {**HOST, "accept": accept})
        assert response.headers["content-type"].startswith(expected)
        assert response.text.endswith("# EOF\n") is expected.startswith("application")
