"""/api/chat and /api/generate: what of a request reaches the worker, and what is refused by name."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from daemon.options import TO_THE_END
from daemon.pool.protocol import Delta, Guide, Sampling
from daemon.pool.session import SessionState
from registry.model import Task
from tests.daemon.api.ollama.served import CHAT, PROMPT, ollama
from tests.daemon.test_answers import finished
from tests.fakes import on_loop
from tests.pictures import png

ANSWER = (Delta("r", "hi", 1), finished())
PNG = base64.b64encode(png((1, 2, 3))).decode()
HI = {"role": "user", "content": "hi"}


@on_loop
async def test_a_chat_reaches_the_worker_with_everything_it_says() -> None:
    async with ollama(*ANSWER) as served:
        tool = {"function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
        options = {"temperature": 0.5, "num_predict": 7, "stop": "x", "repeat_penalty": 1.2, "num_thread": 3}
        body = {**CHAT, "format": "json", "think": False, "tools": [tool], "options": options, "stream": None}
        await served.lines("chat", {**body, "logprobs": True, "top_logprobs": 3})
        asked = served.asked
        assert asked.messages == [HI]
        assert asked.tools == [{"type": "function", **tool}]
        assert asked.guide == Guide(kind="json_object")
        assert asked.sampling == Sampling(temperature=0.5, repetition_penalty=1.2)
        assert (asked.max_tokens, asked.stop, asked.top_logprobs) == (7, ["x"], 3)
        (wants,) = served.bench.names.wanted
        assert (wants.thinking, wants.needs_tools) == (False, True)


@on_loop
async def test_a_prompt_is_a_chat_of_one_message_with_its_system_text_and_pictures() -> None:
    async with ollama(*ANSWER) as served:
        await served.whole("generate", {**PROMPT, "system": "Be terse.", "images": [PNG], "context": [], "suffix": ""})
        system, user = served.asked.messages
        assert system == {"role": "system", "content": "Be terse."}
        assert [part["type"] for part in user["content"]] == ["image_url", "text"]
        (wants,) = served.bench.names.wanted
        assert wants.needs_vision


@on_loop
async def test_a_raw_prompt_goes_without_messages() -> None:
    async with ollama(*ANSWER) as served:
        await served.whole("generate", {**PROMPT, "prompt": "<s>hi", "raw": True, "options": {"seed": 1}})
        assert (served.asked.prompt, served.asked.messages) == ("<s>hi", [])
        assert served.asked.sampling.seed == 1


@pytest.mark.parametrize(
    ("think", "thinking"), [(None, None), ("", None), (True, True), (False, False), ("low", True), ("high", True)]
)
@on_loop
async def test_whether_to_think_is_a_wish_about_the_model(think: object, thinking: bool | None) -> None:
    async with ollama(*ANSWER) as served:
        await served.whole("chat", {**CHAT, "think": think})
        (wants,) = served.bench.names.wanted
        assert wants.thinking is thinking


@on_loop
async def test_a_schema_is_the_form_of_the_answer() -> None:
    async with ollama(*ANSWER) as served:
        await served.whole("generate", {**PROMPT, "format": {"type": "object"}})
        assert served.asked.guide == Guide(kind="json_schema", text='{"type": "object"}')


@on_loop
async def test_an_answer_to_the_end_says_so_whatever_a_preset_might() -> None:
    async with ollama(*ANSWER) as served:
        await served.whole("chat", {**CHAT, "options": {"num_predict": -1}})
        assert served.asked.max_tokens == TO_THE_END
        await served.whole("chat", CHAT)
        assert served.asked.max_tokens is None


@on_loop
async def test_our_headers_count_here_too() -> None:
    async with ollama(*ANSWER) as served:
        response = await served.post("chat", CHAT, {"x-slmreg-task": "code", "x-slmreg-deadline": "9"})
        assert (response.status_code, response.headers["x-slmreg-model"]) == (200, "a:1")
        (wants,) = served.bench.names.wanted
        assert wants.task is Task.CODE
        assert (await served.post("chat", CHAT, {"x-slmreg-deadline": "soon"})).status_code == 400


@pytest.mark.parametrize(("num_ctx", "status"), [(1024, 200), (1025, 400)])
@on_loop
async def test_a_context_that_is_not_there_is_refused_and_a_smaller_one_is_had(num_ctx: int, status: int) -> None:
    async with ollama(*ANSWER) as served:
        response = await served.post("chat", {**CHAT, "options": {"num_ctx": num_ctx}})
        assert response.status_code == status
        assert status == 200 or "'num_ctx' asks for 1025" in response.json()["error"]


@on_loop
async def test_how_long_the_model_stays_is_the_requests_to_say() -> None:
    async with ollama(*ANSWER) as served:
        await served.whole("chat", {**CHAT, "keep_alive": "1h"})
        (session,) = served.bench.pool.snapshot()
        assert session.expires_s is not None
        assert 600 < session.expires_s <= 3600


@pytest.mark.parametrize(("path", "body"), [("chat", {"model": "a"}), ("chat", {"model": "a", "messages": []})])
@on_loop
async def test_an_empty_chat_loads_and_unloads(path: str, body: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": ""}
    async with ollama(*ANSWER) as served:
        done = await served.whole(path, body)
        assert done == {"model": "a:1", "message": message, "done": True, "done_reason": "load"}
        assert [session.state for session in served.bench.pool.snapshot()] == [SessionState.READY]
        done = await served.whole(path, {**body, "keep_alive": 0})
        assert done == {"model": "a:1", "message": message, "done": True, "done_reason": "unload"}
        assert served.bench.pool.snapshot() == ()
        assert served.everything_asked == []


@on_loop
async def test_an_empty_prompt_loads_and_unloads() -> None:
    async with ollama(*ANSWER) as served:
        done = await served.whole("generate", {"model": "a", "system": "x"})
        assert done == {"model": "a:1", "response": "", "done": True, "done_reason": "load"}
        done = await served.whole("generate", {"name": "a", "keep_alive": "0s"})
        assert done == {"model": "a:1", "response": "", "done": True, "done_reason": "unload"}
        assert served.bench.pool.snapshot() == ()


@pytest.mark.parametrize(
    ("path", "fields", "reason"),
    [
        ("chat", {"model": ""}, "model"),
        ("chat", {"options": {"temperature": "hot"}}, "options.temperature"),
        ("chat", {"options": {"creativity": 1}}, "'options.creativity' is not supported"),
        ("chat", {"options": {"mirostat": 1}}, "'mirostat'"),
        ("chat", {"format": "xml"}, "format"),
        ("chat", {"think": "hard"}, "think"),
        ("chat", {"keep_alive": "soon"}, "is no time"),
        ("chat", {"truncate": True}, "'truncate' is not supported"),
        ("chat", {"shift": True}, "'shift' is not supported"),
        ("chat", {"stream": "yes"}, "stream"),
        ("chat", {"top_logprobs": 2}, "'top_logprobs' needs"),
        ("chat", {"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ("chat", {"messages": [HI] * 4}, "max_messages = 3"),
        ("chat", {"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
        ("chat", {"messages": [{**HI, "images": ["x"]}]}, "'images'"),
        ("chat", {"messages": [{**HI, "role": "system", "images": [PNG]}]}, "pictures"),
        ("chat", {"tools": [{"function": {"name": ""}}]}, "tools.0.function.name"),
        ("chat", {"novelty": 1}, "'novelty' is not supported"),
        ("generate", {"suffix": "x"}, "'suffix' is not supported"),
        ("generate", {"template": "x"}, "'template' is not supported"),
        ("generate", {"context": [1]}, "'context' is not supported"),
        ("generate", {"raw": True, "system": "x"}, "'system' has no place in a 'raw' prompt"),
        ("generate", {"raw": True, "images": [PNG]}, "'images' has no place"),
        ("generate", {"raw": True, "think": True}, "'think' has no place"),
        ("generate", {"width": 100}, "'width' is not supported"),
    ],
)
@on_loop
async def test_what_cannot_be_honoured_is_a_400_that_names_it(path: str, fields: dict[str, Any], reason: str) -> None:
    async with ollama(*ANSWER) as served:
        response = await served.post(path, {**(CHAT if path == "chat" else PROMPT), **fields})
        assert response.status_code == 400
        assert set(response.json()) == {"error", "code"}
        assert reason in response.json()["error"]
        assert served.everything_asked == []
