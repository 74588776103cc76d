from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.backends.batched.windows import best_window, exchanges, nearest


@st.composite
def layouts(draw: st.DrawFn) -> tuple[frozenset[int], dict[int, int], int]:
    """Slots of the rows that advance, lengths of all rows by slot, and how many slots there are."""
    slots = draw(st.integers(1, 6))
    lengths = draw(st.dictionaries(st.integers(0, slots - 1), st.integers(1, 50), min_size=1))
    advancing = draw(st.sets(st.sampled_from(sorted(lengths)), min_size=1))
    return frozenset(advancing), lengths, slots


@given(layouts())
def test_after_the_exchanges_the_window_holds_the_rows_that_advance_and_no_others(
    layout: tuple[frozenset[int], dict[int, int], int],
) -> None:
    advancing, lengths, slots = layout
    start = best_window(advancing, lengths, slots)
    places = {slot: slot for slot in range(slots)}  # what lies in a slot, by where it lay
    for inside, outside in exchanges(advancing, start):
        places[inside], places[outside] = places[outside], places[inside]
    assert 0 <= start <= slots - len(advancing)
    assert {places[slot] for slot in range(start, start + len(advancing))} == advancing


@given(layouts())
def test_no_other_window_costs_less_copying(layout: tuple[frozenset[int], dict[int, int], int]) -> None:
    advancing, lengths, slots = layout

    def copied(start: int) -> int:
        return sum(lengths.get(slot, 0) for pair in exchanges(advancing, start) for slot in pair)

    best = best_window(advancing, lengths, slots)
    assert copied(best) == min(copied(start) for start in range(slots - len(advancing) + 1))


def test_rows_that_lie_side_by_side_stay_where_they_are() -> None:
    for order in permutations((2, 3, 4)):
        assert best_window(order, {2: 5, 3: 9, 4: 1, 0: 7}, 8) == 2
        assert exchanges(order, 2) == []


def test_a_new_row_lies_beside_those_that_advance() -> None:
    assert nearest([0, 1, 5, 7], (2, 5)) == 1
    assert nearest([0, 5, 7], (2, 5)) == 5
    assert nearest([0, 3, 7], (2, 5)) == 3
    assert nearest([4, 2], (0, 0)) == 2
