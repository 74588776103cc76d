"""The official OpenAI client against a real daemon with the demo model and a factory-made one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from registry.sources import DEMO_ROOT
from registry.store import Registry
from tests.e2e.conftest import Home, Served, put, wait_for
from tests.e2e.test_demo_model import ANSWERS

ASK: Any = [{"role": "user", "content": "What is slmreg?"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("openai")
    put(tiny, root / "models" / "tiny-random")
    talker = put(DEMO_ROOT, root / "models" / "talker")
    talker.joinpath("inference_model.json").unlink()
    with Registry.open(root / "home" / "registry.db") as registry:
        registry.add_root(root / "models")
    with ExitStack() as stack:
        yield Home(root / "home", root / "models", stack).start(max_context_tokens=1024, max_body_bytes=100_000)


def test_models_are_listed_with_our_facts_beside_openais(served: Served) -> None:
    models = {model.id: model for model in served.openai.models.list()}
    assert {"tiny-random:0", "talker:0"} <= set(models)
    assert (models["talker:0"].model_extra or {})["slmreg"]["context_tokens"] >= 1024
    demo = next(model for model in models.values() if model.owned_by == "slmreg-demo")
    assert (demo.model_extra or {})["slmreg"]["demo"] is True


def test_one_model_can_be_fetched_by_id_or_name(served: Served) -> None:
    assert served.openai.models.retrieve("talker:0").id == "talker:0"
    assert served.openai.models.retrieve("talker").id == "talker:0"


def test_our_own_list_of_models_is_filtered_sorted_and_paged(served: Served) -> None:
    def ids(query: str) -> list[str]:
        return [model["id"] for model in served.get(f"/slmreg/models?{query}")["data"]]

    served.openai.chat.completions.create(model="talker", messages=ASK, max_tokens=1)
    assert ids("name=t*&sort=-id") == ["tiny-random:0", "talker:0"]
    assert ids("loaded=true&name=t*er") == ids("source=folder&task=chat&name=talker:0&pinned=false") == ["talker:0"]
    assert ids("status=missing") == []
    first, second = (served.get(f"/slmreg/models?sort=size_bytes&limit=2&offset={offset}") for offset in (0, 2))
    assert (first["total"], first["next"], second["total"], second["next"]) == (3, 2, 3, None)
    sizes = [model["size_bytes"] for page in (first, second) for model in page["data"]]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)


def test_a_chat_is_answered_and_ends_by_itself(served: Served) -> None:
    answer = served.openai.chat.completions.create(model="talker", messages=ASK, temperature=0)
    assert answer.model == "talker:0"
    assert "slmreg" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens > 5
    assert usage.completion_tokens > 5


@pytest.mark.parametrize("question", ANSWERS)
def test_the_demo_model_answers_its_questions_and_stops(served: Served, question: str) -> None:
    ask = [{"role": "user", "content": question}]
    answer = served.openai.chat.completions.create(model="slmreg-demo", messages=ask, temperature=0)
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (ANSWERS[question], "stop")


def test_a_stream_says_the_same_as_the_whole_answer(served: Served) -> None:
    whole = served.openai.chat.completions.create(model="talker", messages=ASK, temperature=0)
    chunks = list(
        served.openai.chat.completions.create(
            model="talker", messages=ASK, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_max_tokens_bounds_the_answer(served: Served) -> None:
    for limit in ({"max_tokens": 5}, {"max_completion_tokens": 5}):
        answer = served.openai.chat.completions.create(model="talker", messages=ASK, temperature=0, **limit)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 5


def test_a_stop_string_ends_the_answer_and_is_not_in_it(served: Served) -> None:
    whole = served.openai.chat.completions.create(model="talker", messages=ASK, temperature=0)
    text = whole.choices[0].message.content or ""
    middle = text[len(text) // 2 : len(text) // 2 + 4]
    cut = served.openai.chat.completions.create(model="talker", messages=ASK, temperature=0, stop=middle)
    assert cut.choices[0].message.content == text[: text.index(middle)]
    assert cut.choices[0].finish_reason == "stop"


def test_the_same_seed_gives_the_same_text_and_others_differ(served: Served) -> None:
    def ask(seed: int) -> Any:
        answer = served.openai.chat.completions.create(
            model="tiny-random", messages=ASK, temperature=1.5, top_p=0.95, seed=seed, max_tokens=24
        )
        return answer.choices[0].message.content

    assert ask(1) == ask(1)
    assert len({ask(seed) for seed in range(5)}) > 1


def test_auto_picks_a_model_and_says_which(served: Served) -> None:
    raw = served.openai.chat.completions.with_raw_response.create(model="auto", messages=ASK, max_tokens=4)
    assert raw.headers["x-slmreg-model"] == raw.parse().model
    assert raw.parse().model in ("talker:0", "tiny-random:0")
    assert served.openai.chat.completions.create(model="auto:code", messages=ASK, max_tokens=4).model


def test_offered_tools_come_back_as_structure_streamed_or_not(served: Served) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    ask = {
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [tool],
        "temperature": 0,
    }
    answer = served.openai.chat.completions.create(model="talker", **ask)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, "Paris" in call.function.arguments) == ("get_weather", True)
    assert answer.choices[0].finish_reason == "tool_calls"
    streamed = list(served.openai.chat.completions.create(model="talker", stream=True, **ask))
    calls = [c for chunk in streamed for choice in chunk.choices for c in choice.delta.tool_calls or ()]
    assert "".join(c.function.arguments or "" for c in calls) == call.function.arguments
    assert [c.function.name for c in calls if c.function.name] == ["get_weather"]
    assert streamed[-1].choices[0].finish_reason == "tool_calls"


def test_several_requests_to_one_model_are_under_way_at_the_same_time(served: Served) -> None:
    """The worker is held while they arrive: none can end before the others have begun."""
    served.post("/slmreg/load", {"model": "tiny-random"})
    worker = psutil.Process(served.sessions()["tiny-random:0"]["pid"])

    def stream(_: int) -> list[Any]:
        return list(
            served.openai.chat.completions.create(
                model="tiny-random", messages=ASK, temperature=0, max_tokens=50, stream=True
            )
        )

    with ThreadPoolExecutor(3) as clients:
        worker.suspend()
        try:
            answers = [clients.submit(stream, number) for number in range(3)]
            wait_for(lambda: served.sessions()["tiny-random:0"]["active"] == 3, "three requests to be under way")
        finally:
            worker.resume()
        chunks = [answer.result(60) for answer in answers]
    assert all(len(each) > 10 for each in chunks)
    assert len({each[0].id for each in chunks}) == 3


# -- bad input


def test_an_unknown_model_is_404_with_near_names(served: Served) -> None:
    with pytest.raises(openai.NotFoundError, match="talker") as caught:
        served.openai.chat.completions.create(model="talkre", messages=ASK)
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        served.openai.models.retrieve("nothing-like-it")


def test_a_prompt_longer_than_the_context_is_400_with_both_numbers(served: Served) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="at most 1024 tokens") as caught:
            served.openai.chat.completions.create(
                model="tiny-random", messages=[{"role": "user", "content": "word " * 2000}], stream=stream
            )
        assert caught.value.code == "context_length_exceeded"
        assert any(int(word) > 1024 for word in caught.value.message.split() if word.isdigit())


def test_a_task_without_a_model_is_503_and_names_what_was_rejected(served: Served) -> None:
    response = served.post("/slmreg/select", {"task": "vision"})
    assert response.json()["chosen"] is None
    assert {rejected["id"] for rejected in response.json()["rejected"]} >= {"talker:0", "tiny-random:0"}
    with pytest.raises(openai.InternalServerError, match="talker:0") as caught:
        served.openai.chat.completions.create(model="auto:vision", messages=ASK)
    assert (caught.value.status_code, caught.value.code) == (503, "no_model_for_task")
    with pytest.raises(openai.BadRequestError, match="Tasks: chat"):
        served.openai.chat.completions.create(model="auto:cooking", messages=ASK)


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"messages": []}, "messages", "invalid_request"),
        ({"messages": "hi"}, "messages", "invalid_request"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages.0.role", "invalid_request"),
        ({"messages": [{"role": "user"}]}, "messages.0", "invalid_request"),
        ({"temperature": "hot"}, "temperature", "invalid_request"),
        ({"temperature": "0.5"}, "temperature", "invalid_request"),
        ({"stream": "yes"}, "stream", "invalid_request"),
        ({"max_tokens": True}, "max_tokens", "invalid_request"),
        ({"temperature": 3}, "temperature", "invalid_request"),
        ({"top_p": 0}, "top_p", "invalid_request"),
        ({"max_tokens": 0}, "max_tokens", "invalid_request"),
        ({"stop": [""]}, "stop", "invalid_request"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_request"),
        ({"n": 17}, "n", "invalid_request"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_request"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "invalid_request"),
        ({"response_format": {"type": "xml"}}, "response_format", "invalid_request"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_request"),
        ({"keep_alive": "soon"}, "keep_alive", "invalid_request"),
        ({"modalities": ["audio"]}, "modalities", "unsupported_parameter"),
        ({"no_such_thing": 1}, "no_such_thing", "unsupported_parameter"),
    ],
)
def test_a_bad_parameter_is_400_and_named(served: Served, change: dict[str, object], param: str, code: str) -> None:
    response = served.post("/v1/chat/completions", {"model": "talker", "messages": ASK, **change})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, code)
    assert error["param"] is not None
    assert error["param"].startswith(param)
    assert error["type"] == "invalid_request_error"


def test_parameters_that_ask_for_nothing_are_honoured(served: Served) -> None:
    body = {"n": 1, "logprobs": False, "presence_penalty": 0.0, "response_format": {"type": "text"}, "user": "me"}
    response = served.post("/v1/chat/completions", {"model": "talker", "messages": ASK, "max_tokens": 2, **body})
    assert response.status_code == 200


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"", b"[]", b"null", b'{"messages": NaN}'])
def test_a_body_that_is_no_request_is_400_in_the_envelope(served: Served, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{served.url}/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_body_over_the_limit_is_413_announced_or_not(served: Served) -> None:
    body = b'{"messages": "' + b"x" * 200_000 + b'"}'
    headers = {"Content-Type": "application/json"}

    def pieces() -> Iterator[bytes]:
        yield from (body[start : start + 10_000] for start in range(0, len(body), 10_000))

    for content in (body, pieces()):
        response = httpx.post(f"{served.url}/v1/chat/completions", content=content, headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"


def test_unknown_paths_and_methods_answer_in_the_envelope(served: Served) -> None:
    assert served.post("/v1/nothing", {}).json()["error"]["code"] == "http_404"
    response = httpx.get(f"{served.url}/v1/chat/completions")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "http_405")
