"""The simple engine's two routes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from daemon.answers import Answers
from daemon.api.reasoning import ReasoningRequest, reasoning_router
from daemon.catalog import Catalog
from daemon.pool.account import SessionSnapshot
from daemon.pool.pool import SessionPool
from daemon.pool.protocol import Delta, Failed
from daemon.pool.session import SessionState
from registry.model import Model, Status, Task
from tests.daemon.api.scripted import endpoint
from tests.daemon.api.test_sessions import SESSION
from tests.daemon.test_answers import finished
from tests.fakes import a_model, on_loop


@on_loop
async def test_a_prompt_is_answered_with_its_four_fields() -> None:
    async with endpoint(Delta("r", "4", 1, reasoning="2 and 2"), finished()) as served:
        response = await served.post_to("/reasoning", {"model": "a", "prompt": "What is 2 + 2?", "task_type": "math"})
        asked = served.asked
    answer = response.json()
    assert set(answer) == {"generated_text", "task_type", "inference_time", "model"}
    assert (answer["generated_text"], answer["task_type"], answer["model"]) == ("4", "math", "a:1")
    assert 0 <= answer["inference_time"] < 20
    assert [message["role"] for message in asked.messages] == ["system", "user"]
    assert asked.messages[1]["content"] == "What is 2 + 2?"
    assert (asked.max_tokens, asked.sampling.temperature) == (200, 0.3)
    assert response.headers["x-slmreg-model"] == "a:1"


@on_loop
async def test_each_kind_of_task_has_an_instruction_of_its_own() -> None:
    said = set()
    async with endpoint(finished()) as served:
        for kind in ("reasoning", "math", "coding"):
            body = {"model": "a", "prompt": "x", "task_type": kind, "max_length": 7, "temperature": 0}
            await served.post_to("/reasoning", body)
            said.add(served.asked.messages[0]["content"])
            assert (served.asked.max_tokens, served.asked.sampling.temperature) == (7, 0)
    assert len(said) == 3


@pytest.mark.parametrize(("kind", "task"), [("reasoning", Task.REASONING), ("math", Task.MATH), ("coding", Task.CODE)])
@on_loop
async def test_the_kind_of_task_chooses_the_model(kind: str, task: Task) -> None:
    async with endpoint(finished()) as served:
        await served.post_to("/reasoning", {"model": "a", "prompt": "x", "task_type": kind})
        assert served.wanted.task is task
    assert ReasoningRequest(prompt="x").model == "auto"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"task_type": "cooking"}, "task_type"),
        ({"max_length": 0}, "max_length"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 1}, "top_p"),
    ],
)
@on_loop
async def test_what_is_wrong_is_a_400_and_named(fields: dict[str, Any], param: str) -> None:
    async with endpoint(finished()) as served:
        response = await served.post_to("/reasoning", {"model": "a", "prompt": "x", **fields})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@on_loop
async def test_a_failure_has_its_status_and_no_text() -> None:
    async with endpoint(Failed(request_id="r", code="generation_failed", message="The engine broke.")) as served:
        response = await served.post_to("/reasoning", {"model": "a", "prompt": "x"})
    assert (response.status_code, set(response.json())) == (500, {"error"})


class Models:
    def models(self, *, include_missing: bool) -> tuple[Model, ...]:
        return (
            a_model("m", tasks=(Task.CHAT, Task.CODE)),
            a_model("other", tasks=(Task.CHAT, Task.MATH)),
            a_model("broken", tasks=(Task.REASONING,), status=Status.INVALID),
        )


class Sessions:
    def __init__(self, *sessions: SessionSnapshot) -> None:
        self._sessions = sessions

    def snapshot(self) -> tuple[SessionSnapshot, ...]:
        return self._sessions


async def health(*sessions: SessionSnapshot) -> Any:
    app = FastAPI()
    pool = cast(SessionPool, Sessions(*sessions))
    app.include_router(reasoning_router(cast(Answers, None), cast(Catalog, Models()), pool))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://slmreg") as client:
        return (await client.get("/health")).json()


@on_loop
async def test_health_is_that_of_the_model_used_last() -> None:
    before = replace(SESSION, model_id="other:1", idle_s=9.0)
    assert await health(before, SESSION) == {"status": "healthy", "model": "m:1", "capabilities": ["coding"]}


@on_loop
async def test_without_a_model_it_says_so_and_what_could_be_asked() -> None:
    loading = replace(SESSION, state=SessionState.LOADING)
    for sessions in ((), (loading,)):
        assert await health(*sessions) == {
            "status": "model_not_loaded",
            "model": None,
            "capabilities": ["math", "coding"],
        }
