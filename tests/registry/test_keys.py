"""API keys as the registry keeps them: beside everything else that people decide, and never the keys themselves."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import InvalidRequest
from registry.model import ApiKey, KeyScope
from registry.store import MAX_KEYS, Registry

LAPTOP = ApiKey("laptop", KeyScope.ADMIN, "ab" * 32, 5.0)
EDITOR = ApiKey("editor", KeyScope.USE, "cd" * 32, 6.0)


def test_keys_are_kept_in_the_order_in_which_they_were_made_and_go_one_by_one(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r.db") as registry, Registry.open(tmp_path / "r.db") as another_process:
        assert registry.api_keys() == ()
        registry.add_key(LAPTOP)
        registry.add_key(EDITOR)
        assert registry.api_keys() == another_process.api_keys() == (LAPTOP, EDITOR)
        another_process.remove_key("laptop")
        assert registry.api_keys() == (EDITOR,)
    with Registry.open(tmp_path / "r.db") as again:
        assert again.api_keys() == (EDITOR,)


def test_a_name_that_is_taken_or_unknown_is_an_error_that_says_so(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r.db") as registry:
        registry.add_key(LAPTOP)
        with pytest.raises(InvalidRequest, match="a key 'laptop' already"):
            registry.add_key(replace(EDITOR, name="laptop"))
        with pytest.raises(InvalidRequest, match=r"no key 'labtop'\. There are: laptop"):
            registry.remove_key("labtop")
        assert registry.api_keys() == (LAPTOP,)


def test_there_is_a_most_of_keys(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r.db") as registry:
        for number in range(MAX_KEYS):
            registry.add_key(replace(LAPTOP, name=f"k{number}"))
        with pytest.raises(InvalidRequest, match="Revoke one"):
            registry.add_key(EDITOR)


def test_a_scope_that_only_a_newer_slmreg_knows_is_none_at_all(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r.db") as registry:
        registry.add_key(EDITOR)
    with contextlib.closing(sqlite3.connect(tmp_path / "r.db")) as connection, connection:
        connection.execute("UPDATE api_keys SET scope = 'everything'")
    with Registry.open(tmp_path / "r.db") as registry:
        assert registry.api_keys() == (replace(EDITOR, scope=None),)
        assert registry.recovered is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_what_the_registry_writes_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.joinpath("r.db").parent.mkdir(mode=0o700)
    home.joinpath("r.db").touch(mode=0o644)
    for folder in (home, tmp_path / "new"):
        with Registry.open(folder / "r.db") as registry:
            registry.add_key(LAPTOP)
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert {file.name for file in folder.iterdir()} >= {"r.db", "r.json"}
            assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
