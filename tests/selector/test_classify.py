from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError
from typing import SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.model import Task
from selector import classify as module
from selector.classify import BRIEF_CHARS, FIRST_TURNS, LAST_TURNS, WEIGHTS_FILE, Classified, classify, load_weights
from selector.task_features import FEATURES, MOST_CHARS, TASKS_BY_TEXT, Features, read_features
from selector.task_words import GROUPS

CODE = "Write a Python function that parses a log file"
MATH = "Solve the equation 3x + 4 = 19 for x."
PUZZLE = "Solve this logic puzzle step by step: if all knights tell the truth, who is the liar?"
POEM = "Write a poem about autumn for my friend"
TRACE = "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    run(x)\nKeyError: 'id'"


def task_of(*turns: str, previous: Task | None = None) -> Task:
    return classify(turns, previous=previous).task


@pytest.mark.parametrize(
    ("text", "task"),
    [
        (CODE, Task.CODE),
        (TRACE, Task.CODE),
        ("```\nint main() { return 0; }\n```", Task.CODE),
        ("What is the difference between a list and a tuple in Python?", Task.CODE),
        ("Write a function that computes the sum of the first n primes in Java", Task.CODE),
        (MATH, Task.MATH),
        ("What is 15% of 80?", Task.MATH),
        ("Prove that the square root of 3 is irrational.", Task.MATH),
        ("Tom has 12 apples and buys 5 more. How many apples does he have altogether?", Task.MATH),
        (PUZZLE, Task.REASONING),
        ("Anna is taller than Ben. Ben is taller than Carl. Who is the shortest?", Task.REASONING),
        ("Hello!", Task.CHAT),
        (POEM, Task.CHAT),
        ("Translate to French: the meeting starts at 9 and ends at 10", Task.CHAT),
        ("Summarize this text: Python 3.12 is faster than 3.11, and 20 bugs were fixed in the compiler.", Task.CHAT),
        ("Schreibe eine Funktion in Python, die eine Datei liest", Task.CODE),
        ("Berechne die Ableitung von x^2 + 3x", Task.MATH),
        ("Schreibe ein Gedicht über den Herbst", Task.CHAT),
        ("Écris une fonction Python qui trie une liste", Task.CODE),
        ("Résous l'équation 2x + 3 = 7", Task.MATH),
        ("Escribe una función en Python que ordene una lista", Task.CODE),
        ("Resuelve la ecuación 2x + 3 = 7", Task.MATH),
        ("Resuelve este acertijo de lógica paso a paso", Task.REASONING),
        ("用Python写一个排序函数", Task.CODE),
        ("解方程 2x + 3 = 7", Task.MATH),
        ("写一首关于春天的诗", Task.CHAT),
    ],
)
def test_a_request_is_known_by_its_text(text: str, task: Task) -> None:
    assert task_of(text) is task


def test_what_is_attached_decides_audio_before_images_before_tools() -> None:
    assert classify([CODE], has_tools=True) == Classified(Task.TOOLS, 1.0, "tools are offered")
    assert classify([CODE], has_tools=True, has_images=True).task is Task.VISION
    heard = classify([CODE], has_tools=True, has_images=True, has_audio=True, previous=Task.CODE)
    assert heard == Classified(Task.TRANSCRIPTION, 1.0, "there is audio")


@pytest.mark.parametrize("turns", [(), ("",), ("   \n",), ("asdf qwer",), ("ok", "hm", "go on")])
def test_uncertain_is_chat(turns: tuple[str, ...]) -> None:
    found = classify(turns)
    assert found.task is Task.CHAT
    assert 0 < found.confidence < 1
    assert found.because


@pytest.mark.parametrize(
    "turn", ["thanks, and shorter please", "ok", "can you explain that to me again?", "why?", "😀"]
)
@pytest.mark.parametrize("start", [CODE, MATH, PUZZLE])
def test_a_turn_that_shows_nothing_changes_nothing(start: str, turn: str) -> None:
    assert task_of(start, *[turn] * 20) is task_of(start)


def test_chat_turns_into_code_at_once_when_code_is_clearly_asked_for() -> None:
    assert task_of("Hi, how are you?", "What can you do?", CODE) is Task.CODE
    assert task_of(POEM, CODE) is Task.CODE
    assert task_of(MATH, CODE) is Task.CODE


def test_one_turn_about_something_else_does_not_end_a_conversation_about_code_but_two_do() -> None:
    aside = "Write a poem about autumn"
    assert task_of(aside) is Task.CHAT
    assert task_of(CODE, aside) is Task.CODE
    assert task_of(CODE, aside, "And another poem, about the sea") is Task.CHAT


def test_the_longer_conversation_is_no_harder_to_turn() -> None:
    assert task_of(*[POEM] * 50, CODE, CODE) is Task.CODE


def test_a_conversation_is_replayed_alike_as_it_grows() -> None:
    turns = [CODE, "thanks", "now with a test", "and shorter", "what about empty files?", "ok", "thanks!", "great"]
    assert {task_of(*turns[:count]) for count in range(1, len(turns) + 1)} == {Task.CODE}


def test_the_previous_task_stays_unless_the_last_turn_is_clear() -> None:
    assert task_of("thanks, and shorter please", previous=Task.CODE) is Task.CODE
    assert task_of("What about the second one?", previous=Task.MATH) is Task.MATH
    assert task_of(CODE, previous=Task.CHAT) is Task.CODE
    assert task_of(POEM, "shorter", previous=Task.CODE) is Task.CODE
    assert "so far" in classify(["shorter"], previous=Task.CODE).because


@pytest.mark.parametrize("previous", [Task.TOOLS, Task.VISION, Task.TRANSCRIPTION, Task.EMBEDDINGS])
def test_a_previous_task_that_no_text_can_show_does_not_count(previous: Task) -> None:
    assert classify([CODE], previous=previous) == classify([CODE])


def test_the_answer_says_why_in_words_of_our_own_lists_only() -> None:
    assert classify([CODE]).because.startswith("words: python")
    assert "an error message" in classify([TRACE]).because
    secret = classify(["Write a Python function, my password is hunter2 and compilehunter2 too"])
    assert "hunter" not in secret.because


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        classify([CODE]).task = Task.MATH  # type: ignore[misc]


def test_what_is_asked_at_the_end_of_a_long_paste_counts() -> None:
    assert task_of("word " * 20_000 + "\nPlease write a Python function for this and debug it.") is Task.CODE
    assert task_of("Prove this theorem with algebra: solve the equation. " + "word " * 20_000) is Task.MATH


class Watched(str):
    """A text that counts the characters that are taken from it."""

    taken = 0

    def __getitem__(self, key: SupportsIndex | slice, /) -> str:
        part = super().__getitem__(key)
        self.taken += len(part)
        return part

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a long text is never walked")


def test_of_a_long_text_only_a_bounded_part_is_read() -> None:
    text = Watched("x = f(1);\n" * 10_000)
    read_features(text)
    assert 0 < text.taken <= 2 * MOST_CHARS


def test_of_a_long_conversation_only_some_turns_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[int] = []

    def spy(text: str, most_chars: int) -> Features:
        budgets.append(most_chars)
        return read_features(text, most_chars)

    monkeypatch.setattr(module, "read_features", spy)
    classify([CODE] * 500)
    assert len(budgets) == FIRST_TURNS + LAST_TURNS
    assert sum(budgets) == 2 * MOST_CHARS + (FIRST_TURNS + LAST_TURNS - 2) * BRIEF_CHARS


def test_middle_of_a_long_text_does_not_matter() -> None:
    start, end = "a" * MOST_CHARS, "b" * MOST_CHARS
    assert read_features(start + CODE + end) == read_features(start + POEM + end)


HOSTILE = (
    "a",
    "(",
    "`",
    "; ",
    "1",
    "1 - ",
    "A",
    "Aa, ",
    "\n",
    "<a ",
    "x = ",
    "/",
    "a_",
    "数",
    "\\in",
    "how many ",
    "= ",
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_pattern_takes_more_than_linear_time_in_what_it_searches(piece: str) -> None:
    """Searching ever longer texts without the bound: quadratic patterns would need minutes for these."""
    text = piece * (200_000 // len(piece))
    assert all(value <= 2 for value in read_features(text, most_chars=len(text)).values.values())
    assert classify([text] * 30).task in TASKS_BY_TEXT


@given(st.lists(st.text(max_size=300), max_size=6), st.sampled_from([None, *Task]))
@settings(max_examples=60, deadline=None)
def test_any_turns_have_a_task_and_the_same_one_each_time(turns: list[str], previous: Task | None) -> None:
    found = classify(turns, previous=previous)
    assert found == classify(tuple(turns), previous=previous)
    assert found.task in TASKS_BY_TEXT
    assert 0 < found.confidence <= 1
    assert found.because


def test_weights_cover_every_feature_and_task() -> None:
    weights = load_weights()
    assert set(weights.weights) == set(FEATURES)
    assert set(weights.bias) == set(TASKS_BY_TEXT)
    assert WEIGHTS_FILE.stat().st_size < 10_000
    assert json.loads(WEIGHTS_FILE.read_text(encoding="utf-8"))["tasks"] == [task.value for task in TASKS_BY_TEXT]


def test_no_word_is_in_two_groups() -> None:
    entries = [entry for text in GROUPS.values() for entry in text.split()]
    assert not {entry for entry in entries if entries.count(entry) > 1}


def test_words_inside_unspaced_text_are_found() -> None:
    found = read_features("怎么用pandas读取csv文件?").found
    assert "pandas" in found["code_sure"]
    assert "文件" in found["code_perhaps"]


def test_a_phrase_counts_with_its_words_and_a_repeated_word_once() -> None:
    found: Sequence[str] = read_features("binary search, binary search, Binary-Search!").found["code_sure"]
    assert list(found) == ["binary search"]
