from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from daemon.config.example import example
from daemon.config.layers import examine_text
from daemon.model_overrides import ModelOverride
from daemon.settings import Settings

SETTING = re.compile(r"^# (?=(\w+) = )")
TABLE = re.compile(r"^# (?=\[)")


def uncommented(lines: list[str]) -> str:
    return "\n".join(TABLE.sub("", SETTING.sub("", line)) for line in lines)


def test_as_it_is_it_says_nothing() -> None:
    assert tomllib.loads(example()) == {}
    assert all(len(line) <= 120 for line in example().splitlines())


def test_every_setting_is_there_and_taken_out_of_its_comment_it_is_the_default() -> None:
    whole, defaults = uncommented(example().splitlines()), Settings()
    examined = examine_text(whole, Path("config.toml"), {})
    assert examined.problems == ()
    assert examined.effective is not None
    said = examined.effective.settings
    assert set(tomllib.loads(whole)) == set(Settings.model_fields)
    unset = {name for name in Settings.model_fields if getattr(defaults, name) is None}
    for name in Settings.model_fields.keys() - unset - {"models"}:
        assert getattr(said, name) == getattr(defaults, name), name
    assert all(getattr(said, name) is not None for name in unset)
    (override,) = said.models.values()
    assert override.model_fields_set == set(ModelOverride.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is_and_when_a_change_counts(name: str) -> None:
    if name == "models":
        return
    before = example().split(f"\n# {name} = ")[0].rpartition("\n\n")[2]
    words = " ".join(line.removeprefix("# ") for line in before.splitlines())
    description = str(Settings.model_fields[name].description)
    assert words.lower().startswith(description.lower())
    assert re.search(r"Changes count (at once|when a model is loaded next|after a restart)\.$", words)


def test_units_and_bounds_are_said() -> None:
    text = example().replace("\n# ", " ")
    assert "beyond it: 413. Bytes, at least 1024. Changes" in text
    assert "has failed. Seconds, more than 0. Changes" in text
