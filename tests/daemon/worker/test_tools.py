from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.tools import ToolCall, ToolCallFilter

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "é"}}\n</tool_call>'
ADD = ToolCall("add", '{"a": 1, "b": "é"}')


def parse_tool_calls(text: str) -> tuple[str, list[ToolCall]]:
    """A whole text through the filter; the content without white space at its ends if there was a call."""
    tool_filter = ToolCallFilter()
    visible, calls = tool_filter.feed(text)
    rest, last_calls = tool_filter.flush()
    content, calls = visible + rest, calls + last_calls
    return (content.strip() if calls else content), calls


def test_a_call_is_taken_out_of_the_text_around_it() -> None:
    assert parse_tool_calls(f"Let me see.\n{CALL}\n") == ("Let me see.", [ADD])


def test_several_calls_keep_their_order_and_leave_no_text() -> None:
    other = '<tool_call>{"name": "now"}</tool_call>'
    assert parse_tool_calls(f"{CALL}\n{other}") == ("", [ADD, ToolCall("now", "{}")])


def test_text_without_calls_is_left_as_it_is() -> None:
    text = "  a < b, <tool> and </tool_call>\n"
    assert parse_tool_calls(text) == (text, [])


@pytest.mark.parametrize(
    "inside",
    [
        "{oops",
        "[]",
        '{"arguments": {}}',
        '{"name": 3}',
        '{"name": "f", "arguments": "text"}',
        '{"name": "f", "arguments": 1}',
    ],
)
def test_what_is_no_valid_call_stays_in_the_text(inside: str) -> None:
    text = f"see <tool_call>{inside}</tool_call> ok"
    assert parse_tool_calls(text) == (text, [])


def test_a_valid_call_after_a_broken_one_is_found() -> None:
    content, calls = parse_tool_calls(f"<tool_call>{{oops {CALL}")
    assert (content, calls) == ("<tool_call>{oops", [ADD])


def test_arguments_may_be_given_as_json_text() -> None:
    _, calls = parse_tool_calls('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>')
    assert calls == [ToolCall("f", '{"a": 1}')]


def test_the_last_call_may_lack_its_closing_marker() -> None:
    assert parse_tool_calls(CALL.removesuffix("</tool_call>")) == ("", [ADD])


def test_a_call_cut_off_in_the_middle_stays_in_the_text() -> None:
    assert parse_tool_calls('ok <tool_call>{"name": "a') == ('ok <tool_call>{"name": "a', [])


def test_streamed_text_is_held_back_from_a_marker_on() -> None:
    subject = ToolCallFilter()
    assert subject.feed("Sure. <tool") == ("Sure.", [])
    assert subject.feed("box>") == (" <toolbox>", [])
    assert subject.feed(" <tool_call>{") == ("", [])
    assert subject.feed('"name": "now"}</tool_call>\n') == ("", [ToolCall("now", "{}")])
    assert subject.feed("\nDone") == ("Done", [])
    assert subject.flush() == ("", [])


def test_nested_json_deeper_than_python_allows_stays_text() -> None:
    text = "<tool_call>" + "[" * 100_000 + "</tool_call>"
    assert parse_tool_calls(text) == (text, [])


pieces_of_answers = st.lists(
    st.sampled_from([CALL, "<tool_call>", "</tool_call>", '{"name": "f"}', "{", " ", "\n", "text", "<", "é"]),
    max_size=10,
)


@given(pieces=pieces_of_answers, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_the_split_of_an_answer_does_not_matter(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]

    def fed(parts: list[str]) -> tuple[str, list[ToolCall]]:
        subject = ToolCallFilter()
        results = [*(subject.feed(part) for part in parts), subject.flush()]
        return "".join(visible for visible, _ in results), [call for _, calls in results for call in calls]

    whole = fed([text])
    assert fed([text[a:b] for a, b in itertools.pairwise(bounds)]) == whole
    assert fed(list(text)) == whole
    for call in whole[1]:
        assert isinstance(json.loads(call.arguments_json), dict)


def test_importing_it_loads_neither_the_engine_nor_templates() -> None:
    code = "import sys, daemon.worker.tools; print([m for m in ('onnxruntime', 'numpy', 'jinja2') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert result.stdout.strip() == "[]"


def test_half_a_surrogate_pair_in_a_call_becomes_text_that_can_be_sent() -> None:
    _, calls = parse_tool_calls('<tool_call>{"name": "f\\ud83d", "arguments": {"x": "\\ud83d"}}</tool_call>')
    (call,) = calls
    assert (call.name, call.arguments_json) == ("f?", '{"x": "?"}')
