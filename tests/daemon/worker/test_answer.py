from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.answer import AnswerText, Pieces
from daemon.worker.reasoning import ReasoningSplitter
from daemon.worker.tools import forms
from daemon.worker.tools.parser import ToolCallParser
from tests.daemon.worker.tools.written import Calls, joined

THINK, THINK_END, OPEN, CLOSE, OTHER = range(1000, 1005)


class Bytes:
    """A tokenizer whose tokens are single bytes; from 1000 on they are special tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token for token in ids if token < 256).decode("utf-8", "replace")

    def is_silent(self, token: int) -> bool:
        return token >= 1000


def answering(
    *stops: str, is_open: bool = False, has_tools: bool = True, most: int | None = None, reasons: bool = True
) -> AnswerText:
    special = {OPEN: "<|tool_call|>", CLOSE: "<|/tool_call|>"}
    return AnswerText(
        Bytes(),
        stops,
        reasoning=ReasoningSplitter(is_open=is_open) if reasons else None,
        tools=ToolCallParser((forms.PHI,), special=special.values(), most=most) if has_tools else None,
        reasoning_marks={THINK: "<think>", THINK_END: "</think>"},
        tool_marks=special if has_tools else {},
    )


def ran(subject: AnswerText, *parts: str | int) -> tuple[str, str, Calls]:
    tokens = [token for part in parts for token in (part.encode() if isinstance(part, str) else [part])]
    pieces = [*map(subject.push, tokens), subject.flush()]
    deltas = [delta for piece in pieces for delta in piece.tool_calls]
    return "".join(p.text for p in pieces), "".join(p.reasoning for p in pieces), joined(deltas)


def test_an_answer_is_told_apart_into_reasoning_text_and_calls() -> None:
    subject = answering()
    call = '[{"name": "f", "arguments": {"a": "é"}}]'
    said = ran(subject, THINK, "\nhm\n", THINK_END, "\n\nWell. ", OPEN, call, CLOSE, OTHER)
    assert said == ("Well.", "hm", [("f", '{"a": "é"}')])
    assert subject.has_tool_calls and not subject.is_stopped


def test_tokens_of_the_reasoning_are_counted_with_its_marks() -> None:
    subject = answering()
    ran(subject, THINK, "hm", THINK_END, "Well.")
    assert subject.reasoning_tokens == 4
    written_out = answering()
    ran(written_out, "<think>hm</think>Well.")
    assert written_out.reasoning_tokens == len("<think>hm</think>")
    begun = answering(is_open=True)
    ran(begun, "hm", THINK_END, "Well.")
    assert begun.reasoning_tokens == 3
    none = answering()
    ran(none, " <thing>")
    assert none.reasoning_tokens == 0


def test_special_tokens_never_show_where_nobody_looks_for_them() -> None:
    call = '[{"name": "f"}]'
    assert ran(answering(has_tools=False, reasons=False), THINK, "a", OPEN, call, CLOSE) == ("a" + call, "", [])
    assert ran(answering(), "a", THINK, "b", OPEN, "c", CLOSE, THINK_END, OTHER) == ("abc", "", [])
    assert ran(answering(), THINK, "a", OPEN, OTHER, "b", THINK_END, "c") == ("c", "ab", [])


def test_stop_strings_end_the_visible_text_and_nothing_else() -> None:
    subject = answering("stop")
    call = '[{"name": "stop", "arguments": {"a": "stop"}}]'
    assert ran(subject, "<think>stop</think>", OPEN, call, CLOSE) == ("", "stop", [("stop", '{"a": "stop"}')])
    assert not subject.is_stopped
    assert ran(answering("stop"), "go stop more", OPEN, call) == ("go ", "", [])


def test_a_stop_string_is_found_across_tokens() -> None:
    subject = answering("stop", has_tools=False)
    assert ran(subject, "go stop more")[0] == "go "
    assert subject.is_stopped


def test_a_stop_string_in_the_text_held_to_the_end_still_counts() -> None:
    subject = answering("\ufffd", has_tools=False)
    assert (ran(subject, "a", 0xC3)[0], subject.is_stopped) == ("a", True)


def test_an_answer_that_may_call_once_ends_with_its_call() -> None:
    subject = answering(most=1)
    for token in [OPEN, *b'[{"name": "f", "arguments": {}']:
        assert not subject.is_stopped
        subject.push(token)
    assert subject.is_stopped


def test_a_call_that_only_the_end_completes_is_not_lost() -> None:
    subject = AnswerText(Bytes(), tools=ToolCallParser((forms.TAGGED,)))
    assert not any(subject.push(token) for token in b"<function=now>")
    assert joined(subject.flush().tool_calls) == [("now", "{}")]
    assert subject.has_tool_calls


def test_pieces_are_false_where_there_is_nothing_new() -> None:
    assert not Pieces()
    assert all([Pieces(text="a"), Pieces(reasoning="a")])
    assert answering().push(OTHER) == Pieces()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_plain_answer_comes_out_as_it_is(text: str) -> None:
    assert ran(answering(has_tools=False), text)[0] == text or text.lstrip().startswith("<think>")
