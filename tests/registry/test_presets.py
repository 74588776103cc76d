"""Presets in the registry: kept by name, whatever its case, beside what other processes write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from registry.model import Preset
from registry.store import Registry

MARIO = Preset(
    name="Mario",
    base="phi-4-mini",
    system="You are \ud800 Mario.\0",
    parameters={"temperature": 0.5, "stop": ["a", "b"]},
    messages=({"role": "user", "content": "ü"}, {"role": "assistant", "content": "It's-a me"}),
    modified_s=12.5,
)
LUIGI = Preset(name="Luigi", base="auto:code")


def test_presets_are_listed_by_name_and_found_in_any_case(registry: Registry) -> None:
    registry.set_preset(MARIO)
    registry.set_preset(LUIGI)
    assert registry.presets() == (LUIGI, MARIO)
    assert registry.find_preset(" mARIO ") == MARIO
    assert registry.find_preset("mario2") is None


def test_a_preset_takes_the_place_of_one_whose_name_differs_in_case_only(registry: Registry) -> None:
    registry.set_preset(MARIO)
    lower = replace(MARIO, name="mario", system="")
    registry.set_preset(lower)
    assert registry.presets() == (lower,)


def test_a_preset_that_is_removed_is_gone_and_removing_it_again_says_so(registry: Registry) -> None:
    registry.set_preset(MARIO)
    assert registry.remove_preset("MARIO")
    assert not registry.remove_preset("mario")
    assert registry.presets() == ()


def test_presets_are_there_after_the_file_is_closed_and_for_others_who_have_it_open(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with Registry.open(path) as one, Registry.open(path) as other:
        assert other.presets() == ()
        one.set_preset(MARIO)
        assert other.presets() == (MARIO,)
    with Registry.open(path) as again:
        assert again.find_preset("mario") == MARIO
