"""The engine with real models: forms are kept by random weights, and the demo model calls tools."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.protocol import Delta, Failed, Finished, Generate, Guide, Load, Sampling
from daemon.worker.loading import load_engine
from daemon.worker.served import ServedModel
from tests.daemon.worker.drawn import DEMO
from tests.daemon.worker.tools.written import Calls, joined

CITY: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather for a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
COLOUR: dict[str, Any] = {
    "type": "function",
    "function": {"name": "paint", "parameters": {"properties": {"in": {"enum": ["red", "blue"]}}, "required": ["in"]}},
}
PERSON = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["calm", "cross"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "pets": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["mood", "age", "pets"],
    "additionalProperties": False,
}


def loaded(folder: Path) -> ServedModel:
    load = Load(path=str(folder), execution_provider="cpu", threads=1, context_tokens=1024, max_concurrent=4)
    return load_engine(load)[0]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Iterator[ServedModel]:
    yield loaded(tiny_model)


@pytest.fixture(scope="module")
def demo() -> Iterator[ServedModel]:
    yield loaded(DEMO)


def answer(engine: ServedModel, content: str = "Hello", **fields: Any) -> tuple[str, Calls, Finished]:
    given: dict[str, Any] = {"max_tokens": 300, "sampling": Sampling(temperature=1, seed=0), **fields}
    request = Generate(request_id="r", messages=[{"role": "user", "content": content}], **given)
    events = engine.handle(request)
    while not engine.is_idle:
        events += engine.step()
    deltas = [event for event in events if isinstance(event, Delta)]
    (finished,) = [event for event in events if isinstance(event, Finished)]
    calls = joined([piece for delta in deltas for piece in delta.tool_calls])
    return "".join(delta.text for delta in deltas), calls, finished


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_random_weights_keep_a_schema(tiny: ServedModel, temperature: float, seed: int) -> None:
    guide = Guide(kind="json_schema", text=json.dumps(PERSON))
    text, _, end = answer(tiny, guide=guide, sampling=Sampling(temperature=temperature, seed=seed))
    value = json.loads(text)
    assert list(value) == ["mood", "age", "pets"]
    assert value["mood"] in ("calm", "cross") and value["age"] in range(121)
    assert len(value["pets"]) <= 2 and all(isinstance(pet, bool) for pet in value["pets"])
    assert end.finish_reason == "stop"


@pytest.mark.parametrize("seed", range(3))
def test_random_weights_keep_an_expression(tiny: ServedModel, seed: int) -> None:
    guide = Guide(kind="regex", text="(red|green) [0-9]{2,4}")
    text, _, end = answer(tiny, guide=guide, sampling=Sampling(seed=seed))
    assert re.fullmatch(guide.text, text)
    assert end.finish_reason == "stop"


def test_json_mode_gives_an_object_or_the_beginning_of_one(tiny: ServedModel) -> None:
    text, _, end = answer(tiny, guide=Guide(kind="json_object"))
    assert text.startswith("{")
    assert end.finish_reason == "length" or isinstance(json.loads(text), dict)


def test_a_form_that_does_not_fit_ends_at_its_length(tiny: ServedModel) -> None:
    text, _, end = answer(tiny, guide=Guide(kind="regex", text="a{200}"), max_tokens=5)
    assert set(text) == {"a"} and end.finish_reason == "length"


def test_forms_and_plain_answers_run_beside_each_other(tiny: ServedModel) -> None:
    alone, _, _ = answer(tiny, max_tokens=20)
    for request_id, guide in (("plain", None), ("guided", Guide(kind="regex", text="[ab]{12}"))):
        sampling = Sampling(temperature=1, seed=0)
        messages = [{"role": "user", "content": "Hello"}]
        tiny.handle(Generate(request_id=request_id, messages=messages, max_tokens=20, sampling=sampling, guide=guide))
    texts = {"plain": "", "guided": ""}
    while not tiny.is_idle:
        for event in tiny.step():
            if isinstance(event, Delta):
                texts[event.request_id] += event.text
    assert texts["plain"] == alone
    assert re.fullmatch("[ab]{12}", texts["guided"])


def test_an_impossible_schema_is_refused_before_anything_is_generated(tiny: ServedModel) -> None:
    guide = Guide(kind="json_schema", text='{"type": "string", "minLength": 2, "maxLength": 1}')
    (failed,) = tiny.handle(Generate(request_id="r", messages=[{"role": "user", "content": "Hi"}], guide=guide))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", "response_format")
    assert tiny.is_idle


@pytest.mark.parametrize("choice", [{"tool_choice": "required"}, {"tool_choice": "function", "tool_name": "paint"}])
def test_random_weights_make_the_call_that_is_demanded(tiny: ServedModel, choice: dict[str, Any]) -> None:
    text, calls, end = answer(tiny, tools=[COLOUR], has_parallel_calls=False, **choice)
    ((name, arguments),) = calls
    assert (text, name, end.finish_reason) == ("", "paint", "tool_calls")
    assert json.loads(arguments)["in"] in ("red", "blue")


def test_the_demo_model_calls_a_tool(demo: ServedModel) -> None:
    greedy = Sampling(temperature=0)
    text, calls, end = answer(demo, "What is the weather in Paris?", tools=[CITY], sampling=greedy)
    ((name, arguments),) = calls
    assert (text, name, json.loads(arguments)) == ("", "get_weather", {"city": "Paris"})
    assert end.finish_reason == "tool_calls"


def test_without_tools_the_demo_models_call_is_not_looked_for(demo: ServedModel) -> None:
    fields: dict[str, Any] = {"tools": [CITY], "tool_choice": "none", "sampling": Sampling(temperature=0)}
    _, calls, end = answer(demo, "What is the weather in Paris?", **fields)
    assert (calls, end.finish_reason) == ([], "stop")


def test_a_demanded_call_of_the_demo_model_has_the_arguments_that_it_means(demo: ServedModel) -> None:
    fields: dict[str, Any] = {"tool_choice": "function", "tool_name": "get_weather", "tools": [CITY, COLOUR]}
    _, calls, end = answer(demo, "What is the weather in Paris?", sampling=Sampling(temperature=0), **fields)
    ((name, arguments),) = calls
    assert (name, json.loads(arguments), end.finish_reason) == ("get_weather", {"city": "Paris"}, "tool_calls")
