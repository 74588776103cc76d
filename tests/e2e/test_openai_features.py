"""What the official OpenAI client can ask of a real model beside plain answers: several of them, log probabilities,
penalties, answers of a given form, tools that have to be called."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel
from tokenizers import Tokenizer

from registry.sources import DEMO_ROOT
from tests.daemon.api.test_chat_messages import PNG
from tests.e2e.conftest import Served, start_with_talker
from tests.e2e.test_demo_model import ANSWERS, WEATHER_TOOL

ASK: Any = {"messages": [{"role": "user", "content": "What is slmreg?"}]}
WEATHER: Any = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": [WEATHER_TOOL]}


class Paint(BaseModel):
    """Bounded, so that also a model that talks nonsense comes to an end."""

    colour: Literal["red", "green", "blue"]
    is_dry: bool


class GetWeather(BaseModel):
    """Get the weather of a city."""

    city: Literal["Oslo", "Paris"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("features")
    with ExitStack() as stack:
        yield start_with_talker(root, tiny, stack)


@pytest.fixture(scope="module")
def tokens() -> Tokenizer:
    """The talker's, and the demo model's."""
    return Tokenizer.from_file(str(DEMO_ROOT / "tokenizer.json"))


def create(served: Served, model: str = "talker", **fields: Any) -> Any:
    """Greedy, unless the fields say otherwise."""
    return served.openai.chat.completions.create(**{"model": model, "temperature": 0, **ASK, **fields})


def text_of(answer: Any) -> str:
    return answer.choices[0].message.content or ""


# -- several answers


def test_several_answers_differ_and_are_the_same_again_with_the_same_seed(served: Served) -> None:
    def ask() -> Any:
        return create(served, "tiny-random", n=3, temperature=1.5, seed=7, max_tokens=16)

    first, again = ask(), ask()
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert all(texts)
    assert len(set(texts)) > 1
    assert [choice.message.content for choice in again.choices] == texts
    assert 3 <= first.usage.completion_tokens <= 48


def test_several_greedy_answers_are_each_the_one(served: Served) -> None:
    answer = create(served, n=2)
    assert [choice.message.content for choice in answer.choices] == [text_of(create(served))] * 2
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "stop"]


def test_a_stream_of_several_answers_adds_up_to_the_whole_ones(served: Served) -> None:
    asked: dict[str, Any] = {"n": 2, "temperature": 1.5, "seed": 3, "max_tokens": 16}
    whole = create(served, "tiny-random", **asked)
    texts, reasons = {0: "", 1: ""}, {}
    for chunk in create(served, "tiny-random", stream=True, **asked):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason is not None:
                reasons[choice.index] = choice.finish_reason
    assert all(texts.values())
    assert list(texts.values()) == [choice.message.content for choice in whole.choices]
    assert [reasons[index] for index in (0, 1)] == [choice.finish_reason for choice in whole.choices]


# -- log probabilities


def test_log_probabilities_are_those_of_the_text_best_first(served: Served) -> None:
    (choice,) = create(served, logprobs=True, top_logprobs=3, max_tokens=12).choices
    told = choice.logprobs.content
    assert b"".join(bytes(token.bytes) for token in told).decode() == choice.message.content
    for token in told:
        top = [other.logprob for other in token.top_logprobs]
        assert len(top) == 3
        assert top == sorted(top, reverse=True)
        assert token.logprob <= 0
        assert token.top_logprobs[0].token == token.token  # greedy
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-4)


def test_streamed_log_probabilities_are_the_same(served: Served) -> None:
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "max_tokens": 12}
    whole = create(served, **asked).choices[0].logprobs.content
    chunks = [chunk.choices[0] for chunk in create(served, stream=True, **asked)]
    streamed = [token for choice in chunks if choice.logprobs for token in choice.logprobs.content]
    assert len(whole) == 12
    assert [token.token for token in streamed] == [token.token for token in whole]
    assert [token.logprob for token in streamed] == pytest.approx([token.logprob for token in whole], abs=1e-3)
    assert all(len(token.top_logprobs) == 2 for token in streamed)


def test_log_probabilities_without_alternatives_have_none(served: Served) -> None:
    told = create(served, logprobs=True, max_tokens=4).choices[0].logprobs.content
    assert told
    assert all(token.top_logprobs == [] for token in told)
    assert create(served, max_tokens=4).choices[0].logprobs is None


# -- how tokens are drawn, and which end an answer


def test_a_bias_bans_a_token_or_forces_it(served: Served, tokens: Tokenizer) -> None:
    first = create(served, logprobs=True, max_tokens=1).choices[0].logprobs.content[0].token
    banned = {str(number): -100 for number in range(tokens.get_vocab_size()) if tokens.decode([number]) == first}
    assert banned
    other = create(served, logprobs=True, max_tokens=1, logit_bias=banned).choices[0].logprobs.content[0].token
    assert other != first
    (forced,) = tokens.encode("x", add_special_tokens=False).ids
    assert text_of(create(served, logit_bias={str(forced): 100}, max_tokens=5)) == "xxxxx"
    with pytest.raises(openai.BadRequestError) as caught:
        create(served, logit_bias={str(tokens.get_vocab_size() + 100_000): 1})
    assert caught.value.param == "logit_bias"


@pytest.mark.parametrize("penalty", ["frequency_penalty", "presence_penalty"])
def test_penalties_let_another_token_have_its_turn(served: Served, tiny: Path, penalty: str) -> None:
    """The random model's own logits lie within 4 of each other: the biases decide, x a little before y."""
    letters = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    (x,), (y,) = (letters.encode(letter, add_special_tokens=False).ids for letter in "xy")

    def said(**fields: Any) -> str:
        return text_of(create(served, "tiny-random", logit_bias={str(x): 60, str(y): 59}, max_tokens=20, **fields))

    assert said() == "x" * 20
    penalised = said(**{penalty: 2})
    assert set(penalised) == {"x", "y"}
    assert len(penalised) == 20


def test_the_narrowest_choice_is_the_greedy_one_at_any_temperature(served: Served) -> None:
    greedy = text_of(create(served, "tiny-random", max_tokens=16))
    for narrow in ({"top_k": 1}, {"min_p": 1.0}):
        drawn = create(served, "tiny-random", temperature=2, seed=1, max_tokens=16, extra_body=narrow)
        assert text_of(drawn) == greedy


def test_a_repetition_penalty_changes_what_repeats(served: Served) -> None:
    plain = text_of(create(served, "tiny-random", max_tokens=48))
    penalised = text_of(create(served, "tiny-random", max_tokens=48, extra_body={"repetition_penalty": 1.5}))
    assert penalised != plain


def test_no_answer_ends_before_min_tokens(served: Served) -> None:
    natural = create(served)
    assert natural.choices[0].finish_reason == "stop"
    longer = natural.usage.completion_tokens + 10
    forced = create(served, max_tokens=longer, extra_body={"min_tokens": longer})
    assert (forced.choices[0].finish_reason, forced.usage.completion_tokens) == ("length", longer)


def test_a_stop_token_ends_an_answer_and_is_not_in_it(served: Served, tokens: Tokenizer) -> None:
    text = text_of(create(served))
    ids = tokens.encode(text, add_special_tokens=False).ids
    stop = next(number for number in ids[3:] if number not in ids[:3])
    cut = create(served, extra_body={"stop_token_ids": [stop]})
    assert cut.choices[0].finish_reason == "stop"
    assert text.startswith(text_of(cut))
    assert text_of(cut) != text


# -- the form of an answer


@pytest.mark.parametrize(("model", "sampling"), [("talker", {}), ("tiny-random", {"temperature": 1.0, "seed": 5})])
def test_an_answer_is_parsed_into_the_class_it_was_asked_for(
    served: Served, model: str, sampling: dict[str, Any]
) -> None:
    answer = served.openai.chat.completions.parse(
        model=model, **ASK, response_format=Paint, max_tokens=256, **{"temperature": 0, **sampling}
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(answer.choices[0].message.parsed, Paint)


def test_a_stream_ends_in_the_parsed_answer(served: Served) -> None:
    with served.openai.chat.completions.stream(
        model="talker", **ASK, response_format=Paint, max_tokens=256, temperature=0
    ) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert Paint.model_validate_json(text) == final.choices[0].message.parsed


def test_an_answer_in_a_form_that_is_cut_off_says_so(served: Served) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        served.openai.chat.completions.parse(model="talker", **ASK, response_format=Paint, max_tokens=3)


def test_json_mode_begins_an_object_and_ends_it_if_there_is_room(served: Served) -> None:
    answer = create(served, response_format={"type": "json_object"}, max_tokens=300)
    assert text_of(answer).lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text_of(answer)), dict)


@pytest.mark.parametrize(
    ("guide", "possible"),
    [
        ({"guided_regex": "(yes|no)"}, {"yes", "no"}),
        ({"guided_grammar": 'start: "left" | "right"'}, {"left", "right"}),
        ({"guided_json": {"enum": ["up", "down"]}}, {'"up"', '"down"'}),
    ],
)
def test_an_answer_keeps_to_an_expression_a_grammar_or_a_schema(
    served: Served, guide: dict[str, Any], possible: set[str]
) -> None:
    for model in ("talker", "tiny-random"):
        answer = create(served, model, max_tokens=64, extra_body=guide)
        assert text_of(answer).strip() in possible
        assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "guide",
    [
        {"guided_regex": "("},
        {"guided_grammar": "start: nothing"},
        {"guided_json": {"type": "integer", "minimum": 5, "maximum": 3}},
    ],
)
def test_a_form_that_no_answer_can_have_is_400(served: Served, guide: dict[str, Any]) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            create(served, max_tokens=8, stream=stream, extra_body=guide)
        assert [caught.value.param] == list(guide)


# -- tools


def test_a_tool_that_has_to_be_called_is_called(served: Served) -> None:
    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    asked: Any = {"model": "talker", "messages": [{"role": "user", "content": "Hello!"}], "tools": [tool]}
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        answer = served.openai.chat.completions.parse(
            **asked, tool_choice=choice, parallel_tool_calls=False, temperature=0, max_tokens=128
        )
        (call,) = answer.choices[0].message.tool_calls
        assert call.function.name == "get_weather"
        assert isinstance(call.function.parsed_arguments, GetWeather)
        assert answer.choices[0].finish_reason == "tool_calls"


def test_the_tools_loop_ends_in_an_answer_from_the_result(served: Served) -> None:
    asked = create(served, **WEATHER)
    message = asked.choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 18, "sky": "sunny"}'}
    answer = create(served, messages=[*WEATHER["messages"], message, result], tools=WEATHER["tools"])
    assert text_of(answer) == "Here is the result: temperature 18, sky sunny."


def test_a_streamed_call_names_its_tool_first_and_adds_up_to_the_whole_one(served: Served) -> None:
    (whole,) = create(served, **WEATHER).choices[0].message.tool_calls
    chunks = [chunk.choices[0] for chunk in create(served, stream=True, **WEATHER)]
    first, *rest = [call for choice in chunks for call in choice.delta.tool_calls or ()]
    assert first.id.startswith("call_")
    assert (first.index, first.type, first.function.name) == (0, "function", "get_weather")
    assert all((call.index, call.id, call.function.name) == (0, None, None) for call in rest)
    assert "".join(call.function.arguments for call in (first, *rest)) == whole.function.arguments
    assert "".join(choice.delta.content or "" for choice in chunks) == ""
    assert chunks[-1].finish_reason == "tool_calls"


def test_tools_that_must_not_be_called_are_not(served: Served) -> None:
    answer = create(served, **WEATHER, tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason in ("stop", "length")


# -- what it cost, and what cannot be had


def test_a_prompt_that_was_read_before_is_counted_as_cached(served: Served) -> None:
    messages = [{"role": "user", "content": "Remember after me: green pear and a small stone"}]
    first, second = (create(served, messages=messages, max_tokens=4).usage for _ in range(2))
    assert second.prompt_tokens == first.prompt_tokens
    assert 0 < second.prompt_tokens_details.cached_tokens < second.prompt_tokens
    assert second.completion_tokens_details.reasoning_tokens == 0


def test_pictures_need_a_model_that_sees(served: Served) -> None:
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG}}]
    messages = [{"role": "user", "content": content}]
    with pytest.raises(openai.BadRequestError, match="takes no pictures") as caught:
        create(served, messages=messages)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "messages")
    with pytest.raises(openai.InternalServerError) as nothing:
        create(served, "auto", messages=messages)
    assert (nothing.value.status_code, nothing.value.code) == (503, "no_model_for_task")


def test_the_asynchronous_client_gets_several_answers_at_once(served: Served) -> None:
    questions = list(ANSWERS)[:3]

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="talker", temperature=0, messages=[{"role": "user", "content": question}]
                    )
                    for question in questions
                )
            )
        return [answer.choices[0].message.content or "" for answer in answers]

    assert asyncio.run(ask_all()) == [ANSWERS[question] for question in questions]


def test_a_response_goes_on_from_the_one_before_and_streams_the_same(served: Served) -> None:
    client = served.openai
    first = client.responses.create(model="talker", input="Hello!", temperature=0)
    counted = client.responses.input_tokens.count(model="talker", input="Hello!")
    assert counted.input_tokens == first.usage.input_tokens
    assert first.output_text
    question = {"model": "talker", "input": "What is slmreg?", "temperature": 0, "previous_response_id": first.id}
    second = client.responses.create(**question)
    with client.responses.stream(**question) as stream:
        assert stream.get_final_response().output_text == second.output_text
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    parsed = client.responses.parse(model="tiny-random", input="Paint", text_format=Paint)
    assert isinstance(parsed.output_parsed, Paint)
