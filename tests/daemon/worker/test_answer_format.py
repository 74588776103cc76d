"""What a request wants of an answer, with a tokenizer of characters and a few special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from daemon.pool.protocol import Generate, Guide
from daemon.worker.after_reasoning import AfterReasoning
from daemon.worker.answer import AnswerText
from daemon.worker.answer_format import AnswerFormat
from daemon.worker.constraint import Constraint
from daemon.worker.guidance import Guidance
from daemon.worker.large_stack import LargeStack
from daemon.worker.tools import forms
from registry.model import Markers
from tests.daemon.worker.drawn import DEMO, END_IDS, VOCABULARY, allowed, drawn, text_of, tokens_of, zeros
from tests.daemon.worker.tools.written import parsed

THINK, THINK_END, CALL_OPEN, CALL_CLOSE = (VOCABULARY + index for index in range(4))
SPECIAL = {"<think>": THINK, "</think>": THINK_END, "<|tool_call|>": CALL_OPEN, "<|/tool_call|>": CALL_CLOSE}
SIZE = VOCABULARY + len(SPECIAL)
REASONS = Markers("<think>", "</think>")
TOOLS = [
    {"function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}}},
    {"function": {"name": "g"}},
]
YES_OR_NO = Guide(kind="regex", text="yes|no")


class DemoWithMarks:
    """The demo model's tokenizer, in which some marks are special tokens beyond what its file knows."""

    def encode(self, text: str) -> list[int]:
        return [SPECIAL[text]] if text in SPECIAL else tokens_of(text)

    def decode(self, ids: Sequence[int]) -> str:
        return text_of([token for token in ids if token < VOCABULARY])

    def is_silent(self, token: int) -> bool:
        return token >= VOCABULARY


@pytest.fixture(scope="module")
def guidance() -> Guidance:
    return Guidance(DEMO / "tokenizer.json", END_IDS, stack=LargeStack(timeout_s=20))


def asked(**fields: Any) -> Generate:
    return Generate(request_id="r", messages=[], **fields)


def prepared(guidance: Guidance, request: Generate, prompt: str = "") -> tuple[AnswerText, Constraint]:
    answers = AnswerFormat(DemoWithMarks(), guidance, reasoning=REASONS, end_ids=END_IDS)
    text = answers.text(request, prompt)
    constraint = answers.constraint(request, text)
    assert constraint is not None
    return text, constraint


def step(text: AnswerText, constraint: Constraint, token: int) -> None:
    masked = constraint.apply(zeros(SIZE))
    assert masked[token] == 0, "this token may not come"
    constraint.accept(token)
    text.push(token)


def choices(constraint: Constraint) -> list[str | int]:
    tokens = np.flatnonzero(constraint.apply(zeros(SIZE)) == 0).tolist()
    return [token if token >= VOCABULARY or token in END_IDS else text_of([token]) for token in tokens]


def test_without_a_demand_there_is_no_constraint(guidance: Guidance) -> None:
    answers = AnswerFormat(DemoWithMarks(), guidance)
    for request in (asked(), asked(tools=TOOLS), asked(tools=TOOLS, tool_choice="none")):
        assert answers.constraint(request, answers.text(request, "")) is None


def test_a_model_that_reasons_may_do_so_before_it_is_held_to_the_form(guidance: Guidance) -> None:
    text, constraint = prepared(guidance, asked(guide=YES_OR_NO))
    first = choices(constraint)
    assert THINK in first and {str(choice)[0] for choice in first if choice != THINK} == {"y", "n"}
    step(text, constraint, THINK)
    thinking = constraint.apply(zeros(SIZE))
    assert np.isneginf(thinking[list(END_IDS)]).all() and (thinking != 0).sum() == len(END_IDS)
    for token in tokens_of("no, or yes?"):
        step(text, constraint, token)
        assert not constraint.is_complete
    step(text, constraint, THINK_END)
    assert THINK not in choices(constraint)
    for token in tokens_of("no"):
        step(text, constraint, token)
    assert constraint.is_complete


def test_a_model_may_also_answer_at_once(guidance: Guidance) -> None:
    text, constraint = prepared(guidance, asked(guide=YES_OR_NO))
    for token in tokens_of("yes"):
        step(text, constraint, token)
        assert THINK not in choices(constraint)
    assert constraint.is_complete


def test_where_the_prompt_began_the_thought_the_form_comes_after_it(guidance: Guidance) -> None:
    text, constraint = prepared(guidance, asked(guide=YES_OR_NO), prompt="...<think>\n")
    for token in [*tokens_of("hm"), THINK_END, *tokens_of("no")]:
        step(text, constraint, token)
    assert constraint.is_complete


def test_a_model_that_is_not_to_reason_is_held_to_the_form_at_once(guidance: Guidance) -> None:
    _, constraint = prepared(guidance, asked(guide=YES_OR_NO, thinking=False))
    assert not isinstance(constraint, AfterReasoning)
    assert THINK not in choices(constraint)


def test_a_model_of_which_nobody_knows_that_it_reasons_is_held_to_the_form_at_once(guidance: Guidance) -> None:
    answers = AnswerFormat(DemoWithMarks(), guidance)
    request = asked(guide=YES_OR_NO)
    assert not isinstance(answers.constraint(request, answers.text(request, "")), AfterReasoning)


@pytest.mark.parametrize("fields", [{"tool_choice": "required"}, {"tool_choice": "function", "tool_name": "f"}])
def test_a_demanded_call_is_made(guidance: Guidance, fields: dict[str, Any]) -> None:
    answers = AnswerFormat(DemoWithMarks(), guidance)
    names = set()
    for seed in range(8):
        request = asked(tools=TOOLS, thinking=False, **fields)
        constraint = answers.constraint(request, answers.text(request, ""))
        assert constraint is not None
        text, calls = parsed([drawn(constraint, seed=seed) or ""])
        assert text == "" and calls
        names |= {name for name, _ in calls if name == "g"} | {call for call in calls if call[0] == "f"}
    assert names == ({("f", '{"a": 1}')} | ({"g"} if fields["tool_choice"] == "required" else set()))


def test_a_form_of_json_leaves_room_for_a_call_where_tools_are_offered(guidance: Guidance) -> None:
    guide = Guide(kind="json_schema", text='{"const": 3}')
    answers = AnswerFormat(DemoWithMarks(), guidance)

    def texts(**fields: Any) -> set[str | None]:
        request = asked(guide=guide, tools=TOOLS[:1], has_parallel_calls=False, **fields)
        constraints = [answers.constraint(request, answers.text(request, "")) for _ in range(12)]
        return {drawn(constraint, seed=seed) for seed, constraint in enumerate(constraints) if constraint}

    assert texts() == {"3", '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'}
    assert texts(tool_choice="none") == {"3"}


def test_marks_that_are_special_tokens_are_seen_by_those_who_look_for_them_only(guidance: Guidance) -> None:
    answers = AnswerFormat(DemoWithMarks(), guidance, forms=(forms.PHI,))
    tokens = [CALL_OPEN, *tokens_of('[{"name": "f", "arguments": {}}]'), CALL_CLOSE]
    with_tools = answers.text(asked(tools=TOOLS), "")
    without = answers.text(asked(), "")
    for token in tokens:
        with_tools.push(token)
        without.push(token)
    assert (with_tools.has_tool_calls, without.has_tool_calls) == (True, False)


def test_a_space_that_the_tokenizer_puts_before_a_mark_hides_none(guidance: Guidance) -> None:
    class Spaced(DemoWithMarks):
        def encode(self, text: str) -> list[int]:
            return [*tokens_of(" "), *super().encode(text)]

    text = AnswerFormat(Spaced(), guidance, forms=(forms.PHI,)).text(asked(tools=TOOLS), "")
    for token in [CALL_OPEN, *tokens_of('[{"name": "f", "arguments": {}}]')]:
        text.push(token)
    assert text.has_tool_calls


def test_one_call_is_enough_where_calls_are_not_parallel(guidance: Guidance) -> None:
    answers = AnswerFormat(DemoWithMarks(), guidance)
    call = '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
    stopped = []
    for has_parallel_calls in (True, False):
        text = answers.text(asked(tools=TOOLS, has_parallel_calls=has_parallel_calls), "")
        for token in tokens_of(call):
            text.push(token)
        stopped.append(text.is_stopped)
    assert stopped == [False, True]


def test_a_demanded_call_may_use_special_tokens(guidance: Guidance) -> None:
    """Of those that the tokenizer's file has: here <|im_start|> stands for the mark."""

    class Marked(DemoWithMarks):
        def encode(self, text: str) -> list[int]:
            return [1] if text == "<|tool_call|>" else tokens_of(text)

        def is_silent(self, token: int) -> bool:
            return token == 1

    answers = AnswerFormat(Marked(), guidance, forms=(forms.GRANITE,))
    request = asked(tools=TOOLS, tool_choice="required")
    constraint = answers.constraint(request, answers.text(request, ""))
    assert constraint is not None
    assert allowed(constraint) == [1]
