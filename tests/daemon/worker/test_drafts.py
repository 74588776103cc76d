"""Guesses from the text so far, and the arithmetic of checking them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.drafts import Guess, PromptLookup, worth_checking


def guessed(tokens: list[int], most_tokens: int = 4) -> list[int]:
    return list(PromptLookup(most_tokens).guess(tokens).tokens)


def test_what_followed_the_last_tokens_before_is_the_guess() -> None:
    assert guessed([1, 2, 3, 4, 5, 6, 1, 2]) == [3, 4, 5, 6]


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 2]])
def test_what_was_not_there_before_has_no_guess(tokens: list[int]) -> None:
    assert guessed(tokens) == []


def test_the_place_where_more_is_alike_counts_and_of_equal_ones_the_latest() -> None:
    assert guessed([7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2], 1) == [3]
    assert guessed([1, 2, 3, 9, 1, 2, 4, 8, 1, 2], 1) == [4]


def test_a_text_that_repeats_itself_goes_on_like_that() -> None:
    assert guessed([5, 1, 2, 3, 1, 2, 3, 1, 2], 8) == [3, 1, 2, 3, 1, 2, 3, 1]
    assert guessed([5, 1, 1, 1], 3) == [1, 1, 1]


def test_the_index_grows_with_the_text() -> None:
    lookup, text = PromptLookup(3), [1, 2, 3]
    for token in (4, 5, 1, 2):
        lookup.guess(text)
        text.append(token)
    assert lookup.guess(text).tokens == [3, 4, 5]


def test_guesses_that_come_true_are_trusted_and_others_not() -> None:
    loop, lookup = [1, 2, 3, 4] * 3, PromptLookup(2)
    first = lookup.guess(loop).chances
    for step in range(20):
        loop.append(step % 4 + 1)
        last = lookup.guess(loop).chances
    assert last[0] > 0.95 > first[0]
    for token in range(10, 20):
        lookup.guess(loop)
        loop += [token, 1, 2, 3, 4]
    assert lookup.guess(loop).chances[0] < 0.5


def test_the_more_is_alike_the_better_the_chances_and_the_further_away_the_worse() -> None:
    short = PromptLookup(3).guess([1, 2, 9, 9, 8, 7, 1, 2]).chances
    long = PromptLookup(3).guess([5, 6, 1, 2, 9, 9, 8, 7, 5, 6, 1, 2]).chances
    assert long[0] > short[0]
    assert list(short) == sorted(short, reverse=True)


def test_after_a_token_that_was_too_close_to_call_there_is_one_call_without_a_guess() -> None:
    lookup, text = PromptLookup(2), [1, 2, 3, 1, 2]
    before = lookup.guess(text).chances[0]
    lookup.record_close(1, is_close=True)
    assert lookup.guess(text).tokens == ()
    assert 0 < lookup.guess(text).chances[0] < before


@given(text=st.lists(st.integers(0, 3), max_size=60), most=st.integers(1, 9))
def test_a_guess_is_what_came_after_the_same_tokens(text: list[int], most: int) -> None:
    lookup = PromptLookup(most)
    for length in range(len(text) + 1):
        guess = lookup.guess(text[:length])
    assert len(guess.tokens) == len(guess.chances) == (most if guess.tokens else 0)
    pairs = [tuple(text[place : place + 2]) for place in range(len(text) - 2)]
    assert bool(guess.tokens) == (tuple(text[-2:]) in pairs and len(text) > 2)
    if guess.tokens:
        whole = [*text, *guess.tokens]
        places = [place for place in range(2, len(text)) if text[place - 2 : place] == text[-2:]]
        assert any(whole[place : place + most] == list(guess.tokens) for place in places)
        assert all(0 <= chance <= 1 for chance in guess.chances)


def cost(tokens: int) -> float:
    return 1 + 0.25 * (tokens - 1)


SURE = Guess([1, 2, 3, 4], [1.0, 1.0, 1.0, 1.0])
UNSURE = Guess([1, 2, 3, 4], [0.2, 0.04, 0.01, 0.0])


def test_a_sure_guess_is_checked_whole_and_an_unsure_one_not() -> None:
    assert worth_checking([SURE], 1.0, cost) == [4]
    assert worth_checking([UNSURE], 1.0, cost) == []
    assert worth_checking([Guess([], [])], 1.0, cost) == []


def test_only_so_much_is_checked_as_is_likely_to_be_right() -> None:
    assert worth_checking([Guess([1, 2, 3], [0.9, 0.85, 0.05])], 1.0, cost) == [2]


def test_nothing_is_checked_before_a_step_was_measured_nor_where_checking_takes_as_long() -> None:
    assert worth_checking([SURE], None, cost) == []
    assert worth_checking([SURE], 1.0, float) == []
    assert worth_checking([SURE], 1.0, lambda _: None) == []


def test_rows_are_checked_one_by_one_only_where_all_of_them_win() -> None:
    assert worth_checking([SURE, SURE], 1.1, cost) == [4, 4]
    assert worth_checking([SURE, UNSURE], 1.1, cost) == []
    # One call for four rows takes less than four calls save.
    assert worth_checking([SURE] * 4, 1.5, cost) == []
