from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.config.file import with_value, without, write_private
from daemon.config.keys import parse_key
from registry.errors import SettingsError

TEXT = """\
# mine
port = 8000  # the old one

# by model
[keep_alive_models]
"a*" = "1h"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("port", ("port",)),
        ("models", ("models",)),
        ("models.qwen2.5*.threads", ("models", "qwen2.5*", "threads")),
        ('models."qwen2.5*".keep_alive', ("models", "qwen2.5*", "keep_alive")),
        ('models."qwen2.5.threads"', ("models", "qwen2.5.threads")),
        ("models.qwen2.5", ("models", "qwen2.5")),
        ("keep_alive_models.qwen2.5*", ("keep_alive_models", "qwen2.5*")),
        ("model_points.'x.y'", ("model_points", "x.y")),
    ],
)
def test_a_key_is_a_setting_or_an_entry_of_one(key: str, expected: tuple[str, ...]) -> None:
    assert parse_key(key) == expected


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("prot", "Did you mean port"),
        ("zzz", "slmreg config show"),
        ("port.x", "port is no table"),
        ("models.phi*.thread", r"Did you mean models\.phi\*\.threads"),
    ],
)
def test_what_is_no_key_is_refused_with_what_to_do(key: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse_key(key)


def test_comments_and_order_stay_and_what_is_new_comes_before_the_tables(path: Path) -> None:
    assert with_value(path, ("port",), "9000").text == TEXT.replace("8000", "9000")
    added = with_value(path, ("threads",), "2").text
    assert added.replace("threads = 2\n", "") == TEXT
    assert added.index("threads") < added.index("# by model")
    assert without(path, ("port",)).text == TEXT.replace("port = 8000  # the old one\n", "")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("keep_alive", "5m", 'keep_alive = "5m"'),
        ("keep_alive", "-1", "keep_alive = -1"),
        ("require_key", "true", "require_key = true"),
        ("host", "127.0.0.2", 'host = "127.0.0.2"'),
        ("allow", "phi*, qwen*", 'allow = ["phi*", "qwen*"]'),
        ("allow", '["phi*"]', 'allow = ["phi*"]'),
        ("warm_tasks", "none", "warm_tasks = []"),
        ("policy", "fast", 'policy = "fast"'),
        ("models.phi-4.5*.threads", "2", '[models."phi-4.5*"]\nthreads = 2'),
        ("model_points", '{"phi*" = 3}', '[model_points]\n"phi*" = 3'),
    ],
)
def test_values_are_written_as_they_are_meant(path: Path, key: str, value: str, written: str) -> None:
    assert written in with_value(path, parse_key(key), value).text


@pytest.mark.parametrize(
    ("key", "value"),
    [("port", "many"), ("port", "70000"), ("policy", "cheap"), ("models.x.threads", "0"), ("keep_alive_tasks.x", "1h")],
)
def test_a_wrong_value_is_refused_and_the_file_stays(path: Path, key: str, value: str) -> None:
    with pytest.raises(SettingsError, match="is not usable"):
        with_value(path, parse_key(key), value)
    assert path.read_text(encoding="utf-8") == TEXT


def test_what_else_is_wrong_with_the_file_does_not_keep_anybody_from_mending_it(path: Path) -> None:
    path.write_text("prot = 1\nthreads = 'x'\n", encoding="utf-8")
    edited = with_value(path, ("threads",), "2")
    assert [problem.key for problem in edited.problems] == ["prot"]
    path.write_text(edited.text, encoding="utf-8")
    mended = without(path, ("prot",))
    assert mended is not None
    assert (mended.text, mended.problems) == ("threads = 2\n", ())


def test_taking_the_last_entry_out_of_a_table_takes_the_table_out(path: Path) -> None:
    edited = without(path, ("keep_alive_models", "a*"))
    assert edited is not None
    assert "keep_alive_models" not in edited.text
    for nothing in (("threads",), ("keep_alive_models", "b*"), ("models", "x", "threads"), ("port", "x")):
        assert without(path, nothing) is None


def test_a_file_that_is_no_toml_is_left_alone(path: Path) -> None:
    path.write_text("port = = 1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="not valid TOML"):
        with_value(path, ("port",), "1")
    with pytest.raises(SettingsError, match="slmreg config edit"):
        without(path, ("port",))


@pytest.mark.skipif(os.name == "nt", reason="modes and links")
def test_it_is_written_for_its_owner_alone_and_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    path.chmod(0o644)
    write_private(link, "port = 1\n")
    assert (link.is_symlink(), path.read_text(encoding="utf-8")) == (True, "port = 1\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {"config.toml", "link.toml"}


def test_what_cannot_be_written_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("x")
    with pytest.raises(SettingsError, match="cannot be written"):
        write_private(tmp_path / "file" / "config.toml", "port = 1\n")
    taken = tmp_path / "config.toml"
    taken.mkdir()
    with pytest.raises(SettingsError, match="Nothing is changed"):
        write_private(taken, "port = 1\n")
    assert {each.name for each in tmp_path.iterdir()} == {"file", "config.toml"}
