from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.rooms import Room, Rooms, rows_of

ROOMS = Rooms(context_tokens=8192, cache_tokens=8192, max_concurrent=4)


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "room"),
    [(250, 6, 256), (250, 7, 512), (8000, 5000, 8192), (16, None, 2048), (1024, None, 2048), (1025, None, 1536)],
)
def test_a_request_gets_what_it_needs_and_one_of_unknown_length_a_share(
    prompt: int, max_tokens: int | None, room: int
) -> None:
    assert ROOMS.first(prompt, max_tokens) == room


def test_an_old_row_will_do_with_room_for_the_beginning_of_an_answer() -> None:
    assert ROOMS.least(1000, 100) == 1100
    assert ROOMS.least(1000, 5000) == 1256
    assert ROOMS.least(8190, 5000) == 8192


def next_turn(room: int, least: int, *, running: int = 0, rows: int = 0, is_last: bool = False) -> Room:
    return ROOMS.with_next_turn(room, least, running_tokens=running, running_rows=rows, is_last=is_last)


def test_a_second_turn_as_long_as_the_first_fits_where_there_is_enough() -> None:
    assert next_turn(1280, 1256).tokens == 2560


def test_what_a_row_gets_for_its_next_turn_is_not_taken_from_others() -> None:
    assert next_turn(1280, 1256, running=6144, rows=2).tokens == 1280
    assert next_turn(4096, 4096).tokens == 5120
    assert next_turn(4096, 4096, rows=3).tokens == 8192


def test_an_old_row_may_be_larger_but_must_not_keep_others_waiting() -> None:
    assert next_turn(256, 256).most_tokens == 5120
    assert next_turn(256, 256, is_last=True).most_tokens == 8192
    assert next_turn(256, 256, running=7168, rows=1, is_last=True).most_tokens == 512
    assert next_turn(1792, 1542, running=5120, rows=2).most_tokens == 3584


@given(
    prompt=st.integers(1, 8191),
    max_tokens=st.one_of(st.none(), st.integers(1, 9000)),
    running=st.integers(0, 8192),
    rows=st.integers(0, 3),
)
def test_no_room_is_too_small_to_begin_nor_larger_than_what_is_left(
    prompt: int, max_tokens: int | None, running: int, rows: int
) -> None:
    needed = ROOMS.first(prompt, max_tokens)
    least = ROOMS.least(prompt, 8192 - prompt if max_tokens is None else max_tokens)
    assert prompt < least <= 8192
    assert prompt < needed <= 8192
    room = next_turn(needed, least, running=running, rows=rows)
    assert needed <= room.tokens <= min(8192, room.most_tokens)
    assert room.tokens == needed or room.tokens + running <= 8192


def test_no_row_is_given_less_than_every_row_takes_and_one_that_is_there_already_will_do() -> None:
    rooms = Rooms(context_tokens=512, cache_tokens=2048, max_concurrent=4, least_row_tokens=600)
    assert (rooms.first(16, 20), rooms.first(16, None), rooms.rounded(1)) == (600, 600, 600)
    room = rooms.with_next_turn(600, 36, running_tokens=0, running_rows=0, is_last=True)
    assert room.least_tokens <= 600 <= room.most_tokens


def test_with_a_context_for_everybody_all_get_it_at_once() -> None:
    rooms = Rooms(context_tokens=2048, cache_tokens=8192, max_concurrent=4)
    assert [rooms.first(prompt, None) for prompt in (16, 1900)] == [2048, 2048]
    assert rooms.first(16, 100) == 256


def test_with_more_room_than_a_context_shares_are_larger_but_none_is_beyond_the_context() -> None:
    rooms = Rooms(context_tokens=2048, cache_tokens=4096, max_concurrent=4)
    assert (rooms.first(16, None), rooms.first(16, 3000)) == (1024, 2048)
    room = rooms.with_next_turn(2048, 2048, running_tokens=0, running_rows=0, is_last=True)
    assert (room.tokens, room.most_tokens) == (2048, 2048)


@pytest.mark.parametrize(
    ("asked", "cache", "is_batched", "rows"),
    [(0, 8192, True, 8), (0, 4096, True, 8), (0, 4095, True, 4), (0, 8192, False, 4), (3, 8192, True, 3)],
)
def test_eight_requests_run_at_once_in_batches_with_room_for_each_and_else_four(
    asked: int, cache: int, is_batched: bool, rows: int
) -> None:
    assert rows_of(asked, cache, is_batched=is_batched) == rows
