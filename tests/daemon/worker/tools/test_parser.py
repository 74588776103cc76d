from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.pool.protocol import ToolCallDelta
from daemon.worker.tools import forms
from daemon.worker.tools.forms import Form
from daemon.worker.tools.parser import ToolCallParser
from tests.daemon.worker.tools.written import Calls, parsed, split

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n</tool_call>'
ADD = ("add", '{"a": 1, "b": "é"}')
TOOLS = {"add": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}, "now": {}}


def test_a_call_is_taken_out_of_the_text_around_it() -> None:
    assert parsed([f"Let me see.\n{CALL}\n"]) == ("Let me see.", [ADD])


def test_several_calls_keep_their_order_and_leave_no_text() -> None:
    assert parsed([f'{CALL}\n<tool_call>{{"name": "now"}}</tool_call>']) == ("", [ADD, ("now", "{}")])


def test_text_without_calls_is_left_as_it_is() -> None:
    text = "  a < b, <tool> and </tool_call>\n"
    assert parsed([text]) == (text, [])


@pytest.mark.parametrize(
    "inside",
    [
        "{oops",
        "[]",
        "[3]",
        '{"arguments": {}}',
        '{"name": 3}',
        '{"name": ""}',
        '{"name": "f" "x"}',
        '{"name": "f", "arguments": "text"}',
        '{"name": "f", "arguments": 1}',
        '{"arguments": {"a": }, "name": "f"}',
        '{"function": {"arguments": {}}}',
        "<function=>",
    ],
)
def test_what_is_no_call_stays_in_the_text(inside: str) -> None:
    text = f"see <tool_call>{inside}</tool_call> ok"
    assert parsed([text]) == (text, [])


def test_a_call_after_a_broken_one_is_found() -> None:
    assert parsed([f"<tool_call>{{oops {CALL}"]) == ("<tool_call>{oops", [ADD])


@pytest.mark.parametrize(
    "inside",
    [
        '{"name": "f", "arguments": "{\\"a\\": 1}"}',
        '{"arguments": {"a": 1}, "name": "f"}',
        '{"id": "x", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}',
        '{"name": "f", "parameters": {"a": 1}, "id": [1, "}"]}',
        '{"tool_name": "f", "parameters": {"a": 1}}',
        '[{"name": "f", "arguments": {"a": 1}}]',
    ],
)
def test_the_same_call_may_be_written_in_several_ways(inside: str) -> None:
    assert parsed([f"<tool_call>{inside}</tool_call>"]) == ("", [("f", '{"a": 1}')])


def test_the_last_call_may_lack_its_closing_mark() -> None:
    assert parsed([CALL.removesuffix("</tool_call>")]) == ("", [ADD])


def test_a_closing_mark_within_a_text_of_the_arguments_ends_nothing() -> None:
    arguments = '{"a": "</tool_call> \\" }"}'
    assert parsed([f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>!']) == ("!", [("f", arguments)])


def test_one_bracket_too_many_is_passed_over() -> None:
    assert parsed([CALL.replace("}}", "}}}")]) == ("", [ADD])


def test_what_is_cut_off_before_the_arguments_stays_in_the_text() -> None:
    assert parsed(['ok <tool_call>{"name": "a", "arguments":']) == ('ok <tool_call>{"name": "a", "arguments":', [])


def test_arguments_that_are_cut_off_or_break_off_are_passed_on_as_far_as_they_came() -> None:
    assert parsed(['<tool_call>{"name": "f", "arguments": {"a": [1, ']) == ("", [("f", '{"a": [1, ')])
    assert parsed(['<tool_call>{"name": "f", "arguments": {"a": [1}}</tool_call> ok']) == ("ok", [("f", '{"a": [1')])


def test_a_line_break_within_a_text_becomes_an_escape() -> None:
    _, calls = parsed(['<tool_call>{"name": "f", "arguments": {"a": "1\n\t2"}}</tool_call>'])
    assert json.loads(calls[0][1]) == {"a": "1\n\t2"}


def test_a_call_is_streamed_as_it_is_written() -> None:
    subject = ToolCallParser()
    assert subject.feed("Sure. <tool") == ("Sure.", [])
    assert subject.feed("box>") == (" <toolbox>", [])
    assert subject.feed(" <tool_call>{") == ("", [])
    assert subject.feed('"name": "now", "arguments": ') == ("", [])
    assert subject.feed('{"in": "Par') == ("", [ToolCallDelta(index=0, name="now", arguments='{"in": "Par')])
    assert subject.feed('is"') == ("", [ToolCallDelta(index=0, arguments='is"')])
    assert subject.feed("}}</tool_call>\n") == ("", [ToolCallDelta(index=0, arguments="}")])
    assert subject.feed("\nDone") == ("Done", [])
    assert subject.flush() == ("", [])


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (forms.HERMES, "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\né\n</parameter>\n"),
        (forms.TAGGED, '<function=add>{"a": 1, "b": "é"}</function>'),
        (forms.LLAMA, '<|python_tag|>{"name": "add", "parameters": {"a": 1, "b": "é"}}'),
        (forms.LLAMA, '\n{"type": "function", "name": "add", "parameters": {"a": 1, "b": "é"}}'),
        (forms.MISTRAL_LIST, '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": "é"}, "id": "x"}]'),
        (forms.MISTRAL_NAMED, '[TOOL_CALLS]add[ARGS]{"a": 1, "b": "é"}'),
        (forms.MISTRAL_NAMED, '[TOOL_CALLS]add[CALL_ID]9XyZ[ARGS]{"a": 1, "b": "é"}'),
        (forms.PHI, '<|tool_call|>[{"name": "add", "arguments": {"a": 1, "b": "é"}}]<|/tool_call|>'),
        (forms.GRANITE, '<|tool_call|>[{"name": "add", "arguments": {"a": 1, "b": "é"}}]'),
        (forms.FUNCTOOLS, 'functools[{"name": "add", "arguments": {"a": 1, "b": "é"}}]'),
        (forms.NEMOTRON, '<TOOLCALL>[{"name": "add", "arguments": {"a": 1, "b": "é"}}]</TOOLCALL>'),
        (
            forms.DEEPSEEK,
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n"
            '{"a": 1, "b": "é"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        ),
        (
            forms.DEEPSEEK,
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1, "b": "é"}<｜tool▁call▁end｜>',
        ),
    ],
)
def test_each_family_is_understood(form: Form, text: str) -> None:
    assert parsed([text], form, TOOLS) == ("", [ADD])
    assert parsed(list(text), form, TOOLS) == ("", [ADD])


def test_several_calls_of_one_answer_are_found_in_each_family() -> None:
    both = [("add", '{"a": 1}'), ("now", "{}")]
    texts = {
        forms.LLAMA: '{"name": "add", "parameters": {"a": 1}}; {"name": "now", "parameters": {}}',
        forms.MISTRAL_LIST: '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "now"}]',
        forms.MISTRAL_NAMED: '[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]now[ARGS]{}',
        forms.DEEPSEEK: (
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>\n'
            "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
    }
    assert {form: parsed([text], form, TOOLS) for form, text in texts.items()} == dict.fromkeys(texts, ("", both))


def test_an_answer_in_json_is_no_call_unless_it_names_an_offered_tool() -> None:
    texts = ['{"name": "Bob", "parameters": {}}', '{"name": "add", "age": 3}', '{"name": "add", "parameters": {}}x']
    assert [parsed([text], forms.LLAMA, TOOLS) for text in texts] == [
        (texts[0], []),
        (texts[1], []),
        ("x", [("add", "{}")]),
    ]


def test_an_answer_in_json_that_is_no_call_is_not_held_back() -> None:
    parser = ToolCallParser((forms.LLAMA,), TOOLS)
    assert parser.feed('{"colour": ') == ('{"colour":', [])


def test_parameters_in_tags_get_the_types_of_the_schema() -> None:
    text = (
        "<function=add><parameter=a>\n12\n</parameter><parameter=b>\n12\n</parameter>"
        "<parameter=c>[1]</parameter><parameter=d>x y</parameter></function>"
    )
    _, calls = parsed([text], forms.TAGGED, TOOLS)
    assert [json.loads(arguments) for _, arguments in calls] == [{"a": 12, "b": "12", "c": [1], "d": "x y"}]


def test_a_parameter_in_tags_that_is_cut_off_is_left_out() -> None:
    text = "<function=add><parameter=a>1</parameter><parameter=b>hal"
    assert parsed([text], forms.TAGGED, TOOLS)[1] == [("add", '{"a": 1}')]


def test_marks_that_are_special_tokens_never_show() -> None:
    special = forms.PHI.marks
    assert parsed(["a<|tool_call|>b<|/tool_call|>c"], forms.PHI, special=special) == ("abc", [])
    assert parsed(["a<|tool_call|>b<|/tool_call|>c"], forms.PHI) == ("a<|tool_call|>b<|/tool_call|>c", [])


def test_with_one_call_allowed_there_is_no_second_and_nothing_after_it() -> None:
    parser = ToolCallParser(most=1)
    text, deltas = parser.feed(f"Well. {CALL}")
    assert (text, len(deltas), parser.is_full) == ("Well.", 1, True)
    assert parser.feed(f"{CALL} more") == ("", [])
    assert parsed([f'[TOOL_CALLS][{CALL[12:-13]}, {{"name": "now"}}]'], forms.MISTRAL_LIST, most=1) == ("", [ADD])


def test_half_a_surrogate_pair_in_a_name_becomes_text_that_can_be_sent() -> None:
    _, calls = parsed(['<tool_call>{"name": "f\\ud83d", "arguments": "{\\"x\\": \\"\\\\ud83d\\"}"}</tool_call>'])
    assert calls == [("f?", '{"x": "?"}')]


@pytest.mark.parametrize("inside", ["[" * 100_000, '{"a":' * 20_000, '{"name": "f", "x": ' + "[" * 50_000])
def test_nesting_deeper_than_python_allows_stays_text(inside: str) -> None:
    text = f"<tool_call>{inside}</tool_call>"
    assert parsed([text]) == (text, [])


@pytest.mark.parametrize("unit", ['<tool_call>{"name": "', '<tool_call>{"a": "', "<tool_call>[", "<", "x "])
def test_the_time_grows_with_the_text_and_no_faster(unit: str) -> None:
    pieces = [unit] * 2000
    started = time.perf_counter()
    parsed(pieces)
    assert time.perf_counter() - started < 2


ANSWERS: dict[Form, list[str]] = {
    forms.HERMES: [
        CALL,
        "<tool_call>",
        "</tool_call>",
        '{"name": "f"}',
        '{"name": "f", "arguments": {',
        "<function=f>",
    ],
    forms.LLAMA: ['{"name": "add", "parameters": {"a": 1}}', "<|python_tag|>", ";", '{"name": "now"', "}"],
    forms.MISTRAL_NAMED: ["[TOOL_CALLS]", "now", "[ARGS]", '{"a": "[TOOL_CALLS]"}', "[CALL_ID]", "[TOOL"],
    forms.PHI: ["<|tool_call|>", "<|/tool_call|>", '[{"name": "f", "arguments": {}}]', "[", "]", "<|tool"],
    forms.TAGGED: ["<function=now>", "<parameter=a>", "1", "</parameter>", "</function>", "<function="],
    forms.DEEPSEEK: [
        *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
        *("function", "<｜tool▁sep｜>", "now\n```json\n{}\n```", "{}"),
    ],
}
COMMON = ["{", '"', " ", "\n", "text", "<", "é", "\\"]


@st.composite
def answers(draw: st.DrawFn) -> tuple[Form, str]:
    form = draw(st.sampled_from(list(ANSWERS)))
    return form, "".join(draw(st.lists(st.sampled_from([*ANSWERS[form], *COMMON]), max_size=12)))


@given(answer=answers(), cuts=st.lists(st.integers(0, 300), max_size=12), is_special=st.booleans())
def test_the_split_of_an_answer_does_not_matter(answer: tuple[Form, str], cuts: list[int], is_special: bool) -> None:
    form, text = answer
    special = form.marks if is_special else ()

    def fed(pieces: list[str]) -> tuple[str, Calls]:
        return parsed(pieces, form, TOOLS, special=special)

    whole = fed([text])
    assert fed(split(text, cuts)) == whole
    assert fed(list(text)) == whole


@given(answer=answers())
def test_an_answer_without_calls_loses_nothing(answer: tuple[Form, str]) -> None:
    form, text = answer
    shown, calls = parsed([text], form, TOOLS)
    assert calls or shown == text


def test_importing_it_loads_neither_the_engine_nor_templates() -> None:
    heavy = ("onnxruntime", "numpy", "jinja2", "llguidance")
    code = f"import sys, daemon.worker.tools.parser; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == "[]"
