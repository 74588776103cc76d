from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.pace import CALL_S, LEAST_BETWEEN_TOKENS, LEAST_TOKENS, PrefillPace, bound_between


def paced(token_s: float, most_tokens: int = 128, call_s: float = 0.0) -> PrefillPace:
    """A pace that has settled on an engine which takes ``call_s`` a call and ``token_s`` a token."""
    pace = PrefillPace(most_tokens)
    for _ in range(20):
        size = pace.piece(10_000)
        pace.record(size, call_s + size * token_s)
    return pace


def test_the_first_piece_of_an_unknown_model_is_small() -> None:
    assert PrefillPace(128).piece(1000) == LEAST_TOKENS


@pytest.mark.parametrize("token_s", [0.002, 0.004, 0.006])
def test_a_piece_fits_the_time_of_a_call(token_s: float) -> None:
    seconds = paced(token_s, call_s=0.01).piece(1000) * token_s + 0.01
    assert 0.8 * CALL_S <= seconds <= 1.2 * CALL_S


def test_a_fast_model_reads_whole_chunks_and_never_more() -> None:
    assert paced(0.0001).piece(1000) == 128
    assert paced(0.0001, most_tokens=64).piece(1000) == 64


def test_a_slow_model_reads_pieces_that_still_use_the_cores() -> None:
    assert paced(0.5).piece(1000) == LEAST_TOKENS


def test_single_tokens_do_not_tell_how_long_a_piece_takes() -> None:
    pace = paced(0.001)
    for _ in range(20):
        pace.record(1, 0.1)
    assert pace.piece(1000) == 112


def test_a_machine_that_gets_slower_gets_smaller_pieces() -> None:
    pace = paced(0.001)
    for _ in range(6):
        pace.record(64, 64 * 0.005)
    assert pace.piece(1000) == 24


def test_a_prompt_a_little_longer_than_a_piece_is_read_at_once() -> None:
    pace = paced(0.005)
    assert pace.piece(24 + 3) == 27
    assert pace.piece(24 + 4) == 24


@given(prompt=st.integers(1, 600), most_tokens=st.integers(1, 200), token_s=st.floats(0, 0.02))
def test_pieces_make_up_the_prompt_and_the_last_is_never_a_single_token(
    prompt: int, most_tokens: int, token_s: float
) -> None:
    pace = paced(token_s, most_tokens)
    left, pieces = prompt, []
    while left:
        pieces.append(pace.piece(left))
        left -= pieces[-1]
    assert min(pieces) >= 1
    assert max(pieces) <= min(most_tokens, pace.piece(10_000) + 3)
    if most_tokens > 4:
        assert pieces[-1] >= min(prompt, 4)


@pytest.mark.parametrize("token_s", [0.0005, 0.002, 0.004, 0.006])
def test_a_piece_between_the_tokens_of_others_takes_no_longer_than_two_of_their_steps(token_s: float) -> None:
    size = paced(token_s).piece(1000, bound_between(0.03, 1.0))
    assert size >= LEAST_BETWEEN_TOKENS
    assert size * token_s <= 0.06 + 1e-9 or size == LEAST_BETWEEN_TOKENS


def test_what_a_piece_adds_is_bounded_also_where_steps_are_long_or_unknown() -> None:
    assert bound_between(0.04, 0.05) == 0.05
    assert bound_between(0.01, 0.05) == 0.016
    assert bound_between(None, 0.05) == 0.05
    assert bound_between(None, 10.0) == bound_between(1.0, 10.0) == CALL_S


def test_a_slow_model_reads_smaller_pieces_between_the_tokens_of_others() -> None:
    assert paced(0.5).piece(1000, bound_between(0.01, 0.11)) == LEAST_BETWEEN_TOKENS
    assert PrefillPace(128).piece(1000, 0.05) == LEAST_BETWEEN_TOKENS
