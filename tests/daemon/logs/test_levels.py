from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from daemon.logs.levels import MODULES, Levels, module_named

pytestmark = pytest.mark.usefixtures("levels_as_before")

ROOT = Path(__file__).parents[3]


def effective(name: str) -> str:
    return logging.getLevelName(logging.getLogger(name).getEffectiveLevel())


def test_every_logger_of_ours_is_known() -> None:
    files = [file for package in ("daemon", "registry", "selector") for file in (ROOT / package).rglob("*.py")]
    found = {name for file in files for name in re.findall(r'getLogger\("(slmreg[\w.]*)"\)', file.read_text())}
    assert found == set(MODULES)


def test_others_say_only_warnings_whatever_slmreg_says() -> None:
    Levels("debug").apply()
    assert (effective("slmreg.pool"), effective("sqlalchemy.engine"), effective("uvicorn")) == (
        "DEBUG",
        "WARNING",
        "WARNING",
    )
    Levels("error").apply()
    assert (effective("slmreg.pool"), effective("uvicorn")) == ("ERROR", "ERROR")


def test_a_part_has_its_own_level_and_its_parts_have_it_too() -> None:
    levels = Levels("warning", {"slmreg.pool": "debug", "uvicorn": "info"})
    levels.apply()
    assert (effective("slmreg.pool"), effective("slmreg.api"), effective("uvicorn.error")) == (
        "DEBUG",
        "WARNING",
        "INFO",
    )


def test_a_change_counts_before_the_settings_until_it_is_undone() -> None:
    levels = Levels("info", {"slmreg.pool": "error"})
    levels.change({"pool": "debug", "slmreg.api": "warning"})
    assert levels.in_force() == {"slmreg": "info", "slmreg.pool": "debug", "slmreg.api": "warning"}
    assert effective("slmreg.pool") == "DEBUG"
    levels.follow("warning", {"slmreg.pool": "info"})
    assert (effective("slmreg.pool"), effective("slmreg.warm")) == ("DEBUG", "WARNING")
    levels.change({"slmreg.pool": None, "api": None})
    assert levels.in_force() == {"slmreg": "warning", "slmreg.pool": "info"}
    assert (effective("slmreg.pool"), effective("slmreg.api")) == ("INFO", "WARNING")


def test_all_of_slmreg_can_be_changed_at_once() -> None:
    levels = Levels("info")
    levels.change({"slmreg": "debug"})
    assert (effective("slmreg.warm"), effective("sqlalchemy")) == ("DEBUG", "WARNING")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("slmreg.pool", "slmreg.pool"),
        ("pool", "slmreg.pool"),
        ("daemon.pool", "slmreg.pool"),
        ("registry.watch", "slmreg.watch"),
        ("slmreg", "slmreg"),
        ("uvicorn", "uvicorn"),
    ],
)
def test_a_part_is_found_by_the_names_that_people_know(said: str, meant: str) -> None:
    assert module_named(said) == meant


@pytest.mark.parametrize(
    ("said", "hint"), [("slmreg.pol", "slmreg.pool"), ("sqlalchemy", "slmreg.access"), ("x", "uvicorn")]
)
def test_an_unknown_part_is_refused_with_what_there_is(said: str, hint: str) -> None:
    levels = Levels()
    with pytest.raises(ValueError, match=re.escape(hint)):
        levels.change({"slmreg.pool": "debug", said: "debug"})
    assert levels.in_force() == {"slmreg": "info"}
