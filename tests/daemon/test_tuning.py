"""What is made of a measurement."""

from __future__ import annotations

import pytest

from daemon.tuning import PIECES, ROWS, Trial, Verdict, rows_in, thread_counts, verdict


def trial(threads: int, speed: float = 1.0, *, worth_rows: int = 8, piece_s: float = 0.0001) -> Trial:
    """Rows cost nothing more up to ``worth_rows``, and beyond that each costs as much as one alone."""
    step_s = {rows: (1 + max(0, rows - worth_rows)) / (100 * speed) for rows in ROWS}
    return Trial(threads, step_s, {tokens: (0.001 + tokens * piece_s) / speed for tokens in PIECES})


@pytest.mark.parametrize(
    ("physical", "usable", "counts"),
    [(2, 2, [2, 1]), (8, 8, [8, 7, 4]), (4, 8, [8, 4, 7]), (1, 1, [1]), (8, 3, [3, 2, 1])],
)
def test_the_usual_number_of_threads_is_tried_first(physical: int, usable: int, counts: list[int]) -> None:
    assert thread_counts(physical, usable) == counts


def test_the_fastest_threads_win_by_more_than_noise() -> None:
    assert verdict([trial(4), trial(3, 1.2), trial(2, 1.1)], is_batched=True).threads == 3
    assert verdict([trial(4), trial(3, 1.05)], is_batched=True).threads == 4
    assert verdict([trial(4), trial(3, 0.5)], is_batched=True).threads == 4


@pytest.mark.parametrize(("worth", "rows"), [(1, 1), (2, 2), (8, 8), (16, 16)])
def test_as_many_requests_run_at_once_as_bring_something_to_all_of_them(worth: int, rows: int) -> None:
    assert verdict([trial(2, worth_rows=worth)], is_batched=True).max_concurrent == rows


def test_where_rows_take_turns_their_number_is_nothing_to_tune() -> None:
    assert verdict([trial(2)], is_batched=False).max_concurrent is None


def test_the_smallest_piece_that_reads_nearly_as_fast_is_taken() -> None:
    assert verdict([trial(2, piece_s=0.0001)], is_batched=True).prefill_chunk_tokens == 256
    assert verdict([trial(2, piece_s=0.01)], is_batched=True).prefill_chunk_tokens == 16


def test_pieces_of_a_slow_model_are_cut_by_time_alone() -> None:
    slow = Trial(2, {1: 0.1, 2: 0.11}, {16: 0.2, 32: 0.3})
    assert verdict([slow], is_batched=True) == Verdict(2, None, 2)


def test_a_trial_that_was_cut_short_decides_nothing_it_has_not_measured() -> None:
    assert verdict([Trial(2, {1: 0.1}, {})], is_batched=True) == Verdict(2, None, None)


@pytest.mark.parametrize(("context", "wanted", "rows"), [(8192, 12, 12), (4096, 12, 8), (1024, 12, 4), (1024, 2, 2)])
def test_no_more_requests_run_at_once_than_have_room(context: int, wanted: int, rows: int) -> None:
    assert rows_in(context, wanted) == rows
