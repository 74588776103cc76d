"""The demo model's dialogues: repeatable, free of contradictions, and rendered as its answers are written."""

from __future__ import annotations

import ast
import json
import random
import re
from itertools import islice
from typing import Any

import pytest

from scripts.demo_model import knowledge, skills, tools
from scripts.demo_model.dialogues import Dialogue, held_out_dialogues, is_held_out, training_dialogues
from scripts.demo_model.evaluate import expected_answer
from scripts.demo_model.patterns import expand, sample
from scripts.demo_model.template import render

COMMANDS = {
    "serve", "status", "demo", "run", "list", "show", "scan", "roots", "select", "pin", "unpin", "pins", "ps", "load",
    "unload", "hw",
}  # fmt: skip
WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return list(training_dialogues(seed=3, count=2000))


def test_same_seed_gives_the_same_dialogues() -> None:
    assert list(training_dialogues(5, 200)) == list(training_dialogues(5, 200))
    assert list(training_dialogues(5, 200)) != list(training_dialogues(6, 200))


def test_a_question_has_one_answer_in_one_context(dialogues: list[Dialogue]) -> None:
    answers: dict[str, str] = {}
    for dialogue in dialogues:
        for at, message in enumerate(dialogue.messages):
            if message["role"] == "assistant":
                context = json.dumps([dialogue.tools, dialogue.messages[:at]])
                assert answers.setdefault(context, json.dumps(message)) == json.dumps(message), context


def test_no_wording_belongs_to_two_topics() -> None:
    owner: dict[str, str] = {}
    for topic in (*knowledge.ABOUT_SLMREG, *knowledge.SMALL_TALK, knowledge.UNKNOWN):
        for wording in {wording for question in topic.questions for wording in expand(question)}:
            assert owner.setdefault(wording, topic.answer) == topic.answer, wording


def test_answers_name_only_commands_that_exist() -> None:
    for topic in knowledge.ABOUT_SLMREG:
        for command in re.findall(r"`slmreg (\w+)", topic.answer):
            assert command in COMMANDS, topic.answer


def test_every_slot_of_an_answer_stands_in_each_of_its_questions() -> None:
    for topic in knowledge.ABOUT_SLMREG:
        for question in topic.questions:
            assert set(re.findall(r"\{\w+\}", topic.answer)) <= set(re.findall(r"\{\w+\}", question)), question


def test_no_pattern_or_slot_is_left_in_a_dialogue(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        for message in dialogue.messages:
            text = message["content"] or ""
            assert not re.search(r"\{(city|unit|model|task|path|name|thing|other|say|phrase|text)\}|<\w+>", text), text


def test_held_out_questions_are_never_trained_on(dialogues: list[Dialogue]) -> None:
    trained = {m["content"] for dialogue in dialogues for m in dialogue.messages if m["role"] == "assistant"}
    held_out = [dialogue for dialogue in held_out_dialogues(seed=1, per_kind=20) if dialogue.kind in ("sum", "echo")]
    sums = [expected_answer(dialogue) for dialogue in held_out if "=" in expected_answer(dialogue)]
    assert len(held_out) == 40
    assert sums
    assert not trained & set(sums)


@pytest.mark.parametrize("function", skills.FUNCTIONS, ids=lambda function: function.name)
def test_taught_functions_are_one_line_of_python(function: skills.Function) -> None:
    code = function.code.replace("NAME", function.name)
    (definition,) = ast.parse(code).body
    assert isinstance(definition, ast.FunctionDef)
    assert "\n" not in code


def test_taught_sums_are_right() -> None:
    rng = random.Random(2)
    for turn in (skills.sum_turn(rng) for _ in range(300)):
        if turn.answer != skills.TOO_LARGE_ANSWER:
            a, operator, b, value = re.fullmatch(r"(\d+) ([-+*]) (\d+) = (\d+)", turn.answer).groups()  # type: ignore[union-attr]
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[operator] == int(value)


def test_tool_arguments_come_from_the_schema_and_the_question() -> None:
    rng = random.Random(4)
    for _ in range(300):
        made = rng.choice(tools.some_offers(rng))
        question, arguments = tools.ask(made, rng)
        properties = made.schema["function"]["parameters"]["properties"]
        assert set(arguments) <= set(properties)
        assert set(made.schema["function"]["parameters"].get("required", ())) <= set(arguments)
        for value in arguments.values():
            assert str(value) in question or value in ("+", "-", "*") or re.search(r"\d [-+*] \d", str(value))


def test_a_pattern_gives_only_wordings_that_expand_lists() -> None:
    pattern = "(show|list (me|)) <models>( please|)?"
    wordings = set(expand(pattern))
    assert {"show models?", "list me my models please?"} <= wordings
    assert {sample(pattern, random.Random(seed)) for seed in range(200)} <= wordings


def test_unbalanced_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="unbalanced brackets"):
        sample("(a|b", random.Random(0))


def test_is_held_out_keeps_about_one_key_in_25() -> None:
    share = sum(is_held_out(f"key {number}") for number in range(10_000)) / 10_000
    assert 0.03 < share < 0.05
    assert not is_held_out(None)


def test_template_renders_plain_chat() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert render(messages, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_template_renders_content_parts_and_the_developer_role() -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "slmreg?"}]
    messages: list[dict[str, Any]] = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert render(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is slmreg?<|im_end|>\n"
    )


@pytest.mark.parametrize("arguments", [{"city": "Zürich"}, '{"city": "Zürich"}'])
@pytest.mark.parametrize("content", [None, ""])
def test_template_renders_an_earlier_call_as_the_model_writes_it(arguments: object, content: str | None) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Weather in Zürich?"},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 C"},
    ]
    text = render(messages, [WEATHER_TOOL], add_generation_prompt=True)
    written = tools.call_text("get_weather", {"city": "Zürich"})
    assert text.startswith("<|im_start|>system\nFunctions you can call:\n<tools>\n" + json.dumps(WEATHER_TOOL))
    assert f"<|im_start|>assistant\n{written}<|im_end|>\n<|im_start|>tool\n18 C<|im_end|>\n" in text
    assert text.endswith("<|im_start|>assistant\n")


def test_template_renders_a_conversation_without_messages_or_tools() -> None:
    assert render([], add_generation_prompt=True) == "<|im_start|>assistant\n"


def test_every_dialogue_ends_with_an_answer_and_has_no_control_tokens_in_its_texts(dialogues: list[Dialogue]) -> None:
    for dialogue in islice(dialogues, 500):
        assert dialogue.messages[-1]["role"] == "assistant"
        assert all("<|" not in (message["content"] or "") for message in dialogue.messages)
