from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.worker.reasoning import ReasoningSplitter, reasoning_markers
from registry.model import Markers
from tests.daemon.worker.tools.written import split


def told_apart(pieces: Sequence[str], markers: Markers | None = None, *, is_open: bool = False) -> tuple[str, str]:
    subject = ReasoningSplitter(markers, is_open=is_open) if markers else ReasoningSplitter(is_open=is_open)
    results = [*map(subject.feed, pieces), subject.flush()]
    return "".join(reasoning for reasoning, _ in results), "".join(text for _, text in results)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\nIt is 2.\n</think>\n\nTwo.\n", "It is 2.", "Two.\n"),
        ("\n<think>a</think>b", "a", "b"),
        ("<think>\n\n</think>\n\nTwo.", "", "Two."),
        ("Two.", "", "Two."),
        (" Two <think>no</think>", "", " Two <think>no</think>"),
        ("<thin", "", "<thin"),
        ("  ", "", "  "),
        ("", "", ""),
        ("<think>never ends\n", "never ends", ""),
        ("<think>a </thi", "a </thi", ""),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
    ],
)
def test_a_thought_at_the_beginning_is_told_apart(text: str, reasoning: str, answer: str) -> None:
    assert told_apart([text]) == (reasoning, answer)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("\nIt is 2.\n</think>\n\nTwo.", "It is 2.", "Two."),
        ("<think>\nIt is 2.</think>Two.", "It is 2.", "Two."),
        ("never ends", "never ends", ""),
        ("</think>Two.", "", "Two."),
        ("", "", ""),
        (" <thi", "<thi", ""),
    ],
)
def test_a_thought_that_the_prompt_began_goes_on(text: str, reasoning: str, answer: str) -> None:
    assert told_apart([text], is_open=True) == (reasoning, answer)


def test_other_models_have_other_marks() -> None:
    assert told_apart(["[THINK]a[/THINK]b"], Markers("[THINK]", "[/THINK]")) == ("a", "b")


def test_reasoning_is_shown_as_it_comes_and_text_of_an_answer_without_it_too() -> None:
    subject = ReasoningSplitter()
    assert [
        subject.feed(piece) for piece in ("<th", "ink>", "\n", "one ", "two", "</", "x", "</think>", "\n", "A")
    ] == [
        *[("", "")] * 3,
        ("one", ""),
        (" two", ""),
        ("", ""),
        ("</x", ""),
        *[("", "")] * 2,
        ("", "A"),
    ]
    plain = ReasoningSplitter()
    assert [plain.feed(piece) for piece in ("<", "b", " ")] == [("", ""), ("", "<b"), ("", " ")]


texts = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think>", " ", "\n", "a", "b c"]), max_size=10).map(
    "".join
)


@given(text=texts, cuts=st.lists(st.integers(0, 60), max_size=8), is_open=st.booleans())
def test_the_split_of_an_answer_does_not_matter(text: str, cuts: list[int], is_open: bool) -> None:
    whole = told_apart([text], is_open=is_open)
    assert told_apart(split(text, cuts), is_open=is_open) == whole
    assert told_apart(list(text), is_open=is_open) == whole


@example(text="<think><</think>think>", is_open=False)  # a mark of what is on both sides of the one that goes
@given(text=texts, is_open=st.booleans())
def test_nothing_is_lost_but_the_marks_and_the_space_beside_them(text: str, is_open: bool) -> None:
    def letters(text: str) -> str:
        return "".join(text.split())

    def with_or_without_one(mark: str, texts: set[str]) -> set[str]:
        places = [(each, at) for each in texts for at in range(len(each)) if each.startswith(mark, at)]
        return texts | {each[:at] + each[at + len(mark) :] for each, at in places}

    reasoning, answer = told_apart([text], is_open=is_open)
    possible = with_or_without_one("</think>", with_or_without_one("<think>", {letters(text)}))
    assert letters(reasoning + answer) in possible


@pytest.mark.parametrize(
    ("template", "markers"),
    [
        ("{{ '<think>\\n' }}...</think>", Markers("<think>", "</think>")),
        ("{{ content.split('</think>')[-1] }}", Markers("<think>", "</think>")),
        ("[THINK] [/THINK]", Markers("[THINK]", "[/THINK]")),
        ("plain", None),
        ("", None),
        ("<think></think>" + "x" * 300_000, None),
    ],
)
def test_a_template_gives_evidence_of_the_marks(template: str, markers: Markers | None) -> None:
    assert reasoning_markers(template) == markers
