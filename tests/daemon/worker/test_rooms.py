from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.rooms import Rooms

ROOMS = Rooms(context_tokens=8192, max_concurrent=4)


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


def test_a_second_turn_as_long_as_the_first_fits_where_there_is_enough() -> None:
    assert ROOMS.with_next_turn(1280, 1256, running_tokens=0, running_rows=0) == 2560


def test_what_a_row_gets_for_its_next_turn_is_not_taken_from_others() -> None:
    assert ROOMS.with_next_turn(1280, 1256, running_tokens=6144, running_rows=2) == 1280
    assert ROOMS.with_next_turn(4096, 4096, running_tokens=0, running_rows=0) == 5120
    assert ROOMS.with_next_turn(4096, 4096, running_tokens=0, running_rows=3) == 8192


@given(
    prompt=st.integers(1, 8191),
    max_tokens=st.one_of(st.none(), st.integers(1, 9000)),
    running=st.integers(0, 8192),
    rows=st.integers(0, 3),
)
def test_no_room_is_too_small_to_begin_nor_larger_than_what_is_left(
    prompt: int, max_tokens: int | None, running: int, rows: int
) -> None:
    room = ROOMS.first(prompt, max_tokens)
    least = ROOMS.least(prompt, 8192 - prompt if max_tokens is None else max_tokens)
    assert prompt < least <= 8192
    assert prompt < room <= 8192
    spacious = ROOMS.with_next_turn(room, least, running_tokens=running, running_rows=rows)
    assert room <= spacious <= 8192
    assert spacious == room or spacious + running <= 8192
