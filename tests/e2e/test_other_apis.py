"""One daemon behind its other doors: the official Anthropic client, OpenAI's older completions, Foundry Local's routes
and the simple engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel
from tokenizers import Tokenizer

from registry.sources import DEMO_ROOT
from tests.e2e.conftest import Served, start_with_talker
from tests.e2e.test_demo_model import ANSWERS, WEATHER_TOOL

HELLO: Any = [{"role": "user", "content": "Hello!"}]
ABOUT: Any = [{"role": "user", "content": "What is slmreg?"}]
WEATHER: Any = {
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [
        {
            "name": "get_weather",
            "description": WEATHER_TOOL["function"]["description"],
            "input_schema": WEATHER_TOOL["function"]["parameters"],
        }
    ],
}
# Newer releases of the client have no argument for it.
GREEDY: Any = {"extra_body": {"temperature": 0}}
# As the template of the talker writes a question.
PROMPT = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
THINKING = {"type": "enabled", "budget_tokens": 1024}


class Paint(BaseModel):
    """Bounded, so that also a model that talks nonsense comes to an end."""

    colour: Literal["red", "green", "blue"]
    is_dry: bool


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("doors")
    with ExitStack() as stack:
        yield start_with_talker(root, tiny, stack)


@pytest.fixture(scope="module")
def claude(served: Served) -> Iterator[Any]:
    """Anthropic's client, untyped: its overloads do not take parameters from a dict."""
    with anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def tokens() -> Tokenizer:
    return Tokenizer.from_file(str(DEMO_ROOT / "tokenizer.json"))


def create(client: Any, **fields: Any) -> Any:
    """Greedy, unless the fields say otherwise."""
    return client.messages.create(**{"model": "talker", "max_tokens": 200, **GREEDY, **fields})


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# -- Anthropic's messages


def test_a_message_is_answered(claude: Any) -> None:
    message = create(claude, messages=HELLO)
    assert (text_of(message), message.role, message.type) == (ANSWERS["Hello!"], "assistant", "message")
    assert (message.model, message.stop_reason, message.stop_sequence) == ("talker:0", "end_turn", None)
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 5
    assert message.usage.output_tokens > 5


def test_a_stream_says_the_same(claude: Any) -> None:
    whole = create(claude, messages=ABOUT)
    events = list(create(claude, messages=ABOUT, stream=True))
    with claude.messages.stream(model="talker", max_tokens=200, **GREEDY, messages=ABOUT) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert "".join(event.delta.text for event in events[2:-3]) == text == text_of(final) == text_of(whole)
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)


def test_the_asynchronous_client_is_served_as_well(served: Served) -> None:
    async def ask() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=served.url, api_key="none", max_retries=0) as client:
            asked: Any = {"model": "talker", "max_tokens": 200, **GREEDY, "messages": HELLO}
            whole = await client.messages.create(**asked)
            async with client.messages.stream(**asked) as stream:
                streamed = [text async for text in stream.text_stream]
            return text_of(whole), "".join(streamed)

    assert asyncio.run(ask()) == (ANSWERS["Hello!"], ANSWERS["Hello!"])


def test_what_ends_an_answer_is_told(claude: Any) -> None:
    stopped = create(claude, messages=HELLO, stop_sequences=["nothing like it", "slmreg"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "slmreg")
    assert text_of(stopped) == ANSWERS["Hello!"].partition("slmreg")[0]
    cut = create(claude, messages=HELLO, max_tokens=3)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    room = create(claude, model="tiny-random", messages=HELLO, max_tokens=5000)
    assert room.stop_reason in ("model_context_window_exceeded", "end_turn")


def test_an_answer_that_was_begun_is_gone_on_with(claude: Any) -> None:
    beginning, word, rest = ANSWERS["Hello!"].partition("the")
    begun = create(claude, messages=[*HELLO, {"role": "assistant", "content": beginning + word}])
    assert text_of(begun) == rest


def test_a_system_prompt_reaches_the_model(claude: Any) -> None:
    plain = claude.messages.count_tokens(model="talker", messages=HELLO)
    for system in ("Be brief.", [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]):
        assert claude.messages.count_tokens(model="talker", messages=HELLO, system=system).input_tokens > (
            plain.input_tokens
        )


def test_tokens_are_counted_as_they_are_read(claude: Any) -> None:
    usage = create(claude, **WEATHER).usage
    counted = claude.messages.count_tokens(model="talker", **WEATHER)
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    assert claude.messages.count_tokens(
        model="talker", messages=[{"role": "user", "content": "word " * 3000}]
    ).input_tokens > (1024)


def test_the_tools_loop_comes_to_an_answer(claude: Any) -> None:
    first = create(claude, **WEATHER)
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert (first.stop_reason, call.name, call.input["city"]) == ("tool_use", "get_weather", "Paris")
    result = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": [{"type": "text", "text": '{"weather": "sunny"}'}],
    }
    turns = [
        *WEATHER["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    last = create(claude, **{**WEATHER, "messages": turns})
    assert last.stop_reason == "end_turn"
    assert text_of(last)


def test_the_clients_own_tool_runner_works(claude: Any) -> None:
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Get the weather for a city

        Args:
            city: its name
        """
        asked.append(city)
        return '{"weather": "sunny"}'

    runner = claude.beta.messages.tool_runner(
        model="talker", max_tokens=200, **GREEDY, tools=[get_weather], messages=WEATHER["messages"]
    )
    last = runner.until_done()
    assert asked == ["Paris"]
    assert last.stop_reason == "end_turn"


def test_a_streamed_call_adds_up_to_the_whole_one(claude: Any) -> None:
    whole = create(claude, **WEATHER)
    with claude.messages.stream(model="talker", max_tokens=200, **GREEDY, **WEATHER) as stream:
        events = list(stream)
        final = stream.get_final_message()
    pieces = [event.partial_json for event in events if event.type == "input_json"]
    (call,) = [block for block in final.content if block.type == "tool_use"]
    assert json.loads("".join(pieces)) == call.input
    assert [block.input for block in whole.content if block.type == "tool_use"] == [call.input]
    assert final.stop_reason == whole.stop_reason == "tool_use"


def test_a_demanded_call_is_held_to_its_schema(claude: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tool = {"name": "pick", "input_schema": schema}
    for choice in ({"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "pick"}):
        message = create(claude, model="tiny-random", messages=HELLO, tools=[tool], tool_choice=choice)
        (call,) = message.content
        assert call.input in ({"city": "Oslo"}, {"city": "Paris"})
        assert message.stop_reason == "tool_use"
    none = create(claude, **WEATHER, tool_choice={"type": "none"})
    assert [block.type for block in none.content] == ["text"]


def test_an_answer_is_parsed_into_the_model_it_was_asked_for(claude: Any) -> None:
    answer = claude.messages.parse(model="tiny-random", max_tokens=200, messages=HELLO, output_format=Paint)
    assert isinstance(answer.parsed_output, Paint)


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"model": "talkre"}, anthropic.NotFoundError, "talker"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, anthropic.BadRequestError, "at most 1024 tokens"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
            anthropic.BadRequestError,
            "thinking",
        ),
        ({"extra_body": {"mcp_servers": [{"type": "url"}]}}, anthropic.BadRequestError, "mcp_servers"),
        ({"extra_body": {"no_such_thing": 1}}, anthropic.BadRequestError, "no_such_thing"),
        ({"extra_body": {"temperature": 1.5}}, anthropic.BadRequestError, "temperature"),
    ],
)
def test_what_cannot_be_is_an_error_of_the_clients_kind(
    claude: Any, fields: dict[str, Any], error: type[anthropic.APIStatusError], says: str
) -> None:
    for stream in (False, True):
        with pytest.raises(error, match=says) as caught:
            create(claude, **{"messages": HELLO, **fields}, stream=stream)
        assert caught.value.type in ("invalid_request_error", "not_found_error")
        assert caught.value.error_code is not None


def test_the_models_are_listed_a_page_at_a_time_and_told_of_one_by_one(claude: Any, served: Served) -> None:
    listed = list(claude.models.list(limit=1))
    assert [model.id for model in listed] == [model.id for model in served.openai.models.list()]
    assert len(listed) > 1
    (talker,) = (model for model in listed if model.id == "talker:0")
    assert (talker.type, talker.lifecycle, talker.max_input_tokens) == ("model", "active", 1024)
    assert claude.models.retrieve("talker") == talker
    last = claude.models.list(limit=1, before_id=listed[-1].id)
    assert [model.id for model in last.data] == [listed[-2].id]
    with pytest.raises(anthropic.NotFoundError, match="talker") as caught:
        claude.models.retrieve("talkre")
    assert caught.value.type == "not_found_error"


def test_a_document_that_is_text_is_read(claude: Any) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "It rains in Paris. " * 10}
    block = {"type": "document", "source": source, "title": "Weather"}
    question = {"type": "text", "text": "Hello!"}
    plain, with_document = (
        claude.messages.count_tokens(model="talker", messages=[{"role": "user", "content": content}]).input_tokens
        for content in ([question], [block, question])
    )
    assert with_document > plain + 30
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    with pytest.raises(anthropic.BadRequestError, match="Send the text of it"):
        create(claude, messages=[{"role": "user", "content": [{**block, "source": pdf}]}])


# -- OpenAI's older completions


def complete(served: Served, **fields: Any) -> Any:
    return served.openai.completions.create(**{"model": "talker", "prompt": PROMPT, "temperature": 0, **fields})


def test_a_prompt_is_gone_on_from_as_it_is(served: Served, tokens: Tokenizer) -> None:
    ids = tokens.encode(PROMPT).ids
    answer = complete(served, max_tokens=100)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index) == (ANSWERS["Hello!"], "stop", 0)
    assert (answer.object, answer.model, answer.usage.prompt_tokens) == ("text_completion", "talker:0", len(ids))
    assert complete(served, prompt=ids, max_tokens=100).choices[0].text == choice.text


def test_sixteen_tokens_are_the_default(served: Served) -> None:
    answer = complete(served, model="tiny-random", prompt="Once upon", extra_body={"min_tokens": 16})
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (16, "length")


def test_several_prompts_have_several_answers_each_in_order(served: Served) -> None:
    other = PROMPT.replace("Hello!", "ping")
    answer = complete(served, prompt=[PROMPT, other], n=2, best_of=2, max_tokens=100)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices] == [ANSWERS["Hello!"]] * 2 + ["pong"] * 2
    single = [complete(served, prompt=each, max_tokens=100).usage for each in (PROMPT, other)]
    assert answer.usage.prompt_tokens == sum(usage.prompt_tokens for usage in single)
    assert answer.usage.completion_tokens == 2 * sum(usage.completion_tokens for usage in single)


def test_a_stream_of_completions_adds_up(served: Served) -> None:
    asked: Any = {"prompt": [PROMPT, PROMPT], "max_tokens": 100, "echo": True}
    chunks = list(complete(served, **asked, stream=True, stream_options={"include_usage": True}))
    whole = complete(served, **asked)
    texts = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert list(texts.values()) == [choice.text for choice in whole.choices] == [PROMPT + ANSWERS["Hello!"]] * 2
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_token_ids_can_be_echoed(served: Served, tokens: Tokenizer) -> None:
    text = "the model is loaded"
    (choice,) = complete(served, prompt=[tokens.encode(text).ids], echo=True, max_tokens=1).choices
    assert choice.text.startswith(text)


def test_log_probabilities_are_those_of_the_text(served: Served) -> None:
    (choice,) = complete(served, max_tokens=5, logprobs=2).choices
    told = choice.logprobs
    assert "".join(told.tokens) == choice.text
    assert [choice.text[start:][: len(token)] for start, token in zip(told.text_offset, told.tokens, strict=True)] == (
        told.tokens
    )
    assert all(
        len(top) == 2 and top[token] == max(top.values())
        for top, token in zip(told.top_logprobs, told.tokens, strict=True)
    )
    streamed = [c.choices[0].logprobs for c in complete(served, max_tokens=5, logprobs=2, stream=True)]
    assert [token for each in streamed if each for token in each.tokens] == told.tokens
    assert [start for each in streamed if each for start in each.text_offset] == told.text_offset


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "the end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "logprobs"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": "word " * 3000}, "prompt"),
        ({"logprobs": 6}, "logprobs"),
    ],
)
def test_a_completion_that_cannot_be_is_a_400_that_names_it(served: Served, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(served, **fields)
    assert caught.value.param == param


# -- Foundry Local's routes


def test_an_app_for_foundry_local_finds_and_loads_models(served: Served) -> None:
    status = served.get("/openai/status")
    assert (status["endpoints"], Path(status["modelDirPath"]).is_dir()) == ([served.url], True)
    assert (served.get("/status")["pid"], served.get("/status")["endpoints"]) == (served.pid, [served.url])
    assert {"talker:0", "tiny-random:0"} <= set(served.get("/openai/models"))
    entry = next(each for each in served.get("/foundry/list") if each["name"] == "tiny-random:0")
    assert entry["runtime"] == {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"}
    served.post("/slmreg/unload", {"model": "tiny-random"})
    loads = [httpx.post(f"{served.url}/openai/load/tiny-random?ttl=77", timeout=60).json() for _ in range(2)]
    assert [each["status"] for each in loads] == ["loaded", "already_loaded"]
    assert 0 < served.sessions()["tiny-random:0"]["expires_s"] <= 77
    assert "tiny-random:0" in served.get("/openai/loadedmodels")
    unloads = [httpx.post(f"{served.url}/models/unload/tiny-random", timeout=60).json() for _ in range(2)]
    assert [each["status"] for each in unloads] == ["unloaded", "not_loaded"]
    assert "tiny-random:0" not in served.get("/models/loaded")


# -- the simple engine


def test_the_simple_engine_answers_and_says_how_it_is(served: Served) -> None:
    body = {"prompt": "What is 17 + 25?", "task_type": "math", "model": "talker", "temperature": 0}
    answer = served.post("/reasoning", body).json()
    assert set(answer) == {"generated_text", "task_type", "inference_time", "model"}
    assert (answer["task_type"], answer["model"]) == ("math", "talker:0")
    assert answer["generated_text"]
    assert answer["inference_time"] > 0
    health = served.get("/health")
    assert (health["status"], health["model"]) == ("healthy", "talker:0")
    assert health["capabilities"] == ["reasoning", "math", "coding"]
    failed = served.post("/reasoning", {"prompt": "x", "model": "nothing-like-it"})
    assert (failed.status_code, failed.json()["error"]["code"]) == (404, "model_not_found")
