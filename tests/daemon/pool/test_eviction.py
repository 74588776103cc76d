from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.pool.eviction import Occupant, choose_victims

occupants = st.lists(
    st.builds(
        Occupant,
        model_id=st.text("abcdefgh", min_size=1, max_size=3),
        bytes=st.integers(1, 1000),
        idle_s=st.floats(0, 100),
        is_idle=st.booleans(),
        reload_s=st.floats(0, 30),
        is_warm=st.booleans(),
        is_protected=st.booleans(),
    ),
    unique_by=lambda occupant: occupant.model_id,
)


def test_the_least_recently_used_goes_first() -> None:
    old, new = Occupant("old", 10, 9.0, True), Occupant("new", 10, 8.0, True)
    assert choose_victims([new, old], 5) == ("old",)


def test_what_is_loaded_again_in_no_time_goes_before_what_was_idle_a_little_longer() -> None:
    slow, quick = Occupant("slow", 10, 60.0, True, reload_s=30.0), Occupant("quick", 10, 40.0, True, reload_s=1.0)
    assert choose_victims([slow, quick], 5) == ("quick",)


def test_idle_goes_before_busy_however_old() -> None:
    busy, idle = Occupant("busy", 10, 9.0, False), Occupant("idle", 10, 1.0, True)
    assert choose_victims([busy, idle], 5) == ("idle",)


def test_a_warm_one_goes_after_other_idle_ones_and_before_busy_ones() -> None:
    warm = Occupant("warm", 10, 90.0, True, is_warm=True)
    others = [Occupant("idle", 10, 1.0, True), Occupant("busy", 10, 0.0, False)]
    assert choose_victims([warm, *others], 5) == ("idle",)
    assert choose_victims([warm, *others], 15) == ("idle", "warm")


def test_a_protected_one_never_goes() -> None:
    kept = Occupant("kept", 10, 90.0, True, is_protected=True)
    assert choose_victims([kept], 5) == ()
    assert choose_victims([kept], 5, is_forced=True) == ()


def test_a_small_one_is_spared_when_a_large_one_is_enough() -> None:
    small, large = Occupant("small", 1, 9.0, True), Occupant("large", 100, 8.0, True)
    assert choose_victims([small, large], 50) == ("large",)


@given(occupants, st.integers(-10, 5000))
def test_frees_what_is_asked_or_touches_nothing(present: list[Occupant], shortfall: int) -> None:
    sizes = {occupant.model_id: occupant.bytes for occupant in present if not occupant.is_protected}
    victims = choose_victims(present, shortfall)
    if shortfall <= 0 or sum(sizes.values()) < shortfall:
        assert victims == ()
        return
    assert sum(sizes[victim] for victim in victims) >= shortfall
    for spared in victims:  # not one more than needed
        assert sum(sizes[victim] for victim in victims if victim != spared) < shortfall


@given(occupants, st.integers(1, 5000))
def test_busy_sessions_go_only_when_idle_ones_are_not_enough(present: list[Occupant], shortfall: int) -> None:
    idle_bytes = sum(occupant.bytes for occupant in present if occupant.is_idle and not occupant.is_protected)
    victims = set(choose_victims(present, shortfall))
    if idle_bytes >= shortfall:
        assert all(occupant.is_idle for occupant in present if occupant.model_id in victims)


def test_for_a_forced_load_the_idle_go_where_all_together_are_not_enough() -> None:
    busy, idle = Occupant("busy", 10, 9.0, False), Occupant("idle", 10, 1.0, True)
    assert choose_victims([busy, idle], 50) == ()
    assert choose_victims([busy, idle], 50, is_forced=True) == ("idle",)
    assert choose_victims([busy], 50, is_forced=True) == ()


@given(occupants, st.integers(-10, 3000))
def test_a_force_changes_nothing_where_there_is_enough(all_of_them: list[Occupant], shortfall_bytes: int) -> None:
    victims = choose_victims(all_of_them, shortfall_bytes)
    if victims:
        assert choose_victims(all_of_them, shortfall_bytes, is_forced=True) == victims
