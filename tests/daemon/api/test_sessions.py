"""The routes of what is loaded, over a pool that remembers what it was told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from daemon.api.admin import sessions_router
from daemon.api.errors import install_error_handlers
from daemon.catalog import Catalog
from daemon.endpoints import Endpoint
from daemon.loads import Loads
from daemon.pool.account import SessionSnapshot
from daemon.pool.plan import LoadPlan
from daemon.pool.pool import SessionPool
from daemon.pool.session import SessionState
from daemon.resolving import Resolved
from registry.model import Model, Task
from tests.fakes import a_model, a_session, on_loop

MODEL = a_model("m")
PLAN = LoadPlan(context_tokens=1024, threads=2, need_bytes=1000, keep_alive_s=44.0)
SESSION = a_session(
    resident_bytes=1000,
    active=1,
    queued=2,
    context_tokens=4096,
    idle_s=0.04,
    row_tokens=(100, 50),
    kept_tokens=(10,),
    reserved_tokens=512,
    cache_tokens=4096,
    engine_reason="It has LoRA adapters.",
    kv_token_bytes=24_576,
    template_source="tokenizer_config.json",
    expires_s=59.96,
    is_kept=True,
    warm_for=(Task.CHAT, Task.CODE),
)


class OneModel:
    def resolve(self, _reference: str, *, is_forced: bool, serves: Endpoint) -> Resolved:
        return Resolved(MODEL, replace(PLAN, is_forced=is_forced))

    def requested(self, _reference: str) -> tuple[Model, ...]:
        return (MODEL,)


class Remembering:
    def __init__(self, session: SessionSnapshot = SESSION) -> None:
        self.session = session
        self.told: list[tuple[Any, ...]] = []

    async def load(self, model: Model, plan: LoadPlan, *, is_kept: bool) -> None:
        self.told.append(("load", model.id, plan.keep_alive_s, is_kept))

    async def unload(self, model_id: str, *, at_once: bool, only_unused: bool) -> bool:
        assert not only_unused
        self.told.append(("unload", model_id, at_once))
        return True

    def snapshot(self) -> tuple[SessionSnapshot, ...]:
        return (self.session,)


async def ask(pool: Remembering, method: str, path: str, body: Any = None) -> httpx.Response:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(
        sessions_router(Loads(cast(Catalog, OneModel()), cast(SessionPool, pool)), cast(SessionPool, pool))
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slmreg") as client:
        return await client.request(method, f"/slmreg/{path}", json=body)


@on_loop
async def test_a_session_is_shown_with_how_long_it_stays_and_why() -> None:
    (shown,) = (await ask(Remembering(), "GET", "sessions")).json()
    assert shown == {
        "id": "m:1",
        "state": "ready",
        "pid": 7,
        "resident_bytes": 1000,
        "active": 1,
        "queued": 2,
        "device": "cpu",
        "threads": 3,
        "context_tokens": 4096,
        "engine": "generator",
        "engine_reason": "It has LoRA adapters.",
        "kv_token_bytes": 24_576,
        "max_concurrent": 8,
        "row_bytes": [100 * 24_576, 50 * 24_576],
        "kept_bytes": [10 * 24_576],
        "kv_bytes": 160 * 24_576,
        "reserved_tokens": 512,
        "cache_tokens": 4096,
        "template_source": "tokenizer_config.json",
        "idle_s": 0.0,
        "expires_s": 60.0,
        "pinned": True,
        "warm_for": ["chat", "code"],
        "cores": [],
        "failure": None,
    }


@on_loop
async def test_a_cache_whose_tokens_have_no_known_size_has_none_either() -> None:
    (shown,) = (await ask(Remembering(replace(SESSION, kv_token_bytes=None)), "GET", "sessions")).json()
    assert (shown["row_bytes"], shown["kept_bytes"], shown["kv_bytes"]) == (None, None, None)


@on_loop
async def test_a_failed_session_says_what_kind_of_failure_and_when_it_is_tried_again() -> None:
    failed = replace(
        SESSION, state=SessionState.FAILED, failure="No room.", failure_kind="out_of_memory", retry_s=11.96
    )
    (shown,) = (await ask(Remembering(failed), "GET", "sessions")).json()
    assert shown["failure"] == {"kind": "out_of_memory", "message": "No room.", "retry_s": 12.0}


@pytest.mark.parametrize(
    ("body", "keep_alive_s", "is_kept"),
    [
        ({}, 44.0, False),
        ({"pin_loaded": True}, 44.0, True),
        ({"pin_loaded": True, "keep_alive": None}, 44.0, True),
        ({"keep_alive": 90}, 90.0, False),
        ({"keep_alive": "5m"}, 300.0, False),
        ({"keep_alive": -1}, None, False),
        ({"keep_alive": 0}, 0.0, False),
    ],
)
@on_loop
async def test_a_load_says_how_long_its_model_stays(
    body: dict[str, Any], keep_alive_s: float | None, is_kept: bool
) -> None:
    pool = Remembering()
    response = await ask(pool, "POST", "load", {"model": "m", **body})
    assert (response.status_code, response.json()["warning"]) == (200, None)
    assert pool.told == [("load", "m:1", keep_alive_s, is_kept)]


@pytest.mark.parametrize(("body", "at_once"), [({}, False), ({"now": True}, True)])
@on_loop
async def test_an_unload_says_whether_to_wait_for_running_answers(body: dict[str, Any], at_once: bool) -> None:
    pool = Remembering()
    response = await ask(pool, "POST", "unload", {"model": "m", **body})
    assert response.json() == {"id": "m:1", "unloaded": True}
    assert pool.told == [("unload", "m:1", at_once)]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("load", {"keep_alive": "soon"}, "is no time"),
        ("load", {"keep_alive": True}, "is no time"),
        ("load", {"keep_alive": "5m", "pin_loaded": True}, "what is pinned in memory stays"),
        ("load", {"pin": True}, "'pin' is not supported"),
        ("unload", {"now": "later"}, "now"),
        ("unload", {"force": True}, "'force' is not supported"),
    ],
)
@on_loop
async def test_what_cannot_be_meant_is_a_400(path: str, body: dict[str, Any], reason: str) -> None:
    pool = Remembering()
    response = await ask(pool, "POST", path, {"model": "m", **body})
    assert (response.status_code, reason in response.json()["error"]["message"]) == (400, True), response.text
    assert pool.told == []
