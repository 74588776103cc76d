from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.pool.eviction import Occupant, choose_victims

occupants = st.lists(
    st.builds(
        Occupant,
        model_id=st.text("abcdefgh", min_size=1, max_size=3),
        bytes=st.integers(1, 1000),
        last_used_s=st.floats(0, 100),
        is_idle=st.booleans(),
    ),
    unique_by=lambda occupant: occupant.model_id,
)


def test_the_least_recently_used_goes_first() -> None:
    old, new = Occupant("old", 10, 1.0, True), Occupant("new", 10, 2.0, True)
    assert choose_victims([new, old], 5) == ("old",)


def test_idle_goes_before_busy_however_old() -> None:
    busy, idle = Occupant("busy", 10, 1.0, False), Occupant("idle", 10, 9.0, True)
    assert choose_victims([busy, idle], 5) == ("idle",)


def test_a_small_one_is_spared_when_a_large_one_is_enough() -> None:
    small, large = Occupant("small", 1, 1.0, True), Occupant("large", 100, 2.0, True)
    assert choose_victims([small, large], 50) == ("large",)


@given(occupants, st.integers(-10, 5000))
def test_frees_what_is_asked_or_touches_nothing(present: list[Occupant], shortfall: int) -> None:
    sizes = {occupant.model_id: occupant.bytes for occupant in present}
    victims = choose_victims(present, shortfall)
    if shortfall <= 0 or sum(sizes.values()) < shortfall:
        assert victims == ()
        return
    assert sum(sizes[victim] for victim in victims) >= shortfall
    for spared in victims:  # not one more than needed
        assert sum(sizes[victim] for victim in victims if victim != spared) < shortfall


@given(occupants, st.integers(1, 5000))
def test_busy_sessions_go_only_when_idle_ones_are_not_enough(present: list[Occupant], shortfall: int) -> None:
    idle_bytes = sum(occupant.bytes for occupant in present if occupant.is_idle)
    victims = set(choose_victims(present, shortfall))
    if idle_bytes >= shortfall:
        assert all(occupant.is_idle for occupant in present if occupant.model_id in victims)


def test_for_a_forced_load_the_idle_go_where_all_together_are_not_enough() -> None:
    busy, idle = Occupant("busy", 10, 1.0, False), Occupant("idle", 10, 9.0, True)
    assert choose_victims([busy, idle], 50) == ()
    assert choose_victims([busy, idle], 50, is_forced=True) == ("idle",)
    assert choose_victims([busy], 50, is_forced=True) == ()


@given(occupants, st.integers(-10, 3000))
def test_a_force_changes_nothing_where_there_is_enough(all_of_them: list[Occupant], shortfall_bytes: int) -> None:
    victims = choose_victims(all_of_them, shortfall_bytes)
    if victims:
        assert choose_victims(all_of_them, shortfall_bytes, is_forced=True) == victims
