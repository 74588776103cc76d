"""The commands about models and roots, in this process and without a daemon; tests/e2e has both in real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.cli.models import _how_searched
from daemon.cli.show import as_text
from scripts.model_factory import write_preset


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_installation: None) -> Path:
    """A home with a Foundry cache that is found by itself."""
    (tmp_path / "foundry").mkdir()
    monkeypatch.setenv("SLMREG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLMREG_FOUNDRY_CACHES", str(tmp_path / "foundry"))
    monkeypatch.setenv("SLMREG_HF_CACHE", "")
    return tmp_path


def slmreg(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result


def as_json(*arguments: str) -> Any:
    return json.loads(slmreg(*arguments, "--json").stdout)


def root(path: Path) -> Any:
    (found,) = [root for root in as_json("roots") if root["path"] == str(path)]
    return found


def test_list_can_be_narrowed_by_source_and_status(home: Path) -> None:
    broken = write_preset("tiny", home / "foundry" / "broken")
    write_preset("tiny", home / "models" / "mine")
    slmreg("roots", "add", str(home / "models"))
    as_json("scan")
    (broken / "tokenizer.json").unlink()

    def ids(*arguments: str) -> set[str]:
        return {model["id"] for model in as_json("list", *arguments)}

    assert ids("--source", "folder") == {"mine:0"}
    assert ids("--status", "invalid") == {"broken:0"}
    assert ids("--source", "folder", "--status", "invalid") == set()
    assert "broken:0" not in slmreg("list", "--status", "ready").stdout
    assert slmreg("list", "--source", "nowhere", code=2).output


def test_a_missing_model_is_listed_where_it_is_asked_for(home: Path) -> None:
    folder = write_preset("tiny", home / "foundry" / "gone")
    as_json("scan")
    folder.rename(home / "elsewhere")
    assert "gone:0" not in slmreg("list").stdout
    assert "gone:0" in slmreg("list", "--status", "missing").stdout
    assert as_json("show", "gone")["missing_since"].endswith("+00:00")


def test_a_root_that_is_found_by_itself_is_switched_off_and_on_again(home: Path) -> None:
    write_preset("tiny", home / "foundry" / "one")
    assert root(home / "foundry")["models"] == 1
    assert as_json("roots", "remove", str(home / "foundry"))["switched_off"] is True
    assert (root(home / "foundry")["enabled"], root(home / "foundry")["models"]) == (False, 0)
    assert "switched off" in slmreg("roots").stdout
    assert as_json("roots", "add", str(home / "foundry"))["ids"]["added"] == ["one:0"]
    assert (root(home / "foundry")["enabled"], root(home / "foundry")["source"]) == (True, "foundry")


def test_an_added_root_is_forgotten_and_can_settle_in_its_own_time(home: Path) -> None:
    write_preset("tiny", home / "models" / "one")
    assert "one:0" in as_json("roots", "add", str(home / "models"), "--settle-s", "2.5")["ids"]["added"]
    assert (root(home / "models")["settle_s"], root(home / "models")["watched"]) == (2.5, None)
    assert as_json("roots", "remove", str(home / "models"))["switched_off"] is False
    assert str(home / "models") not in {root["path"] for root in as_json("roots")}
    assert "not among" in slmreg("roots", "remove", str(home / "models"), code=1).output


def test_models_below_a_root_are_counted_and_those_of_a_neighbour_are_not(home: Path) -> None:
    for folder in ("models/a", "models/b/c", "models-of-others/d"):
        write_preset("tiny", home / folder)
    for name in ("models", "models-of-others"):
        slmreg("roots", "add", str(home / name))
    assert (root(home / "models")["models"], root(home / "models-of-others")["models"]) == (2, 1)


def test_show_says_it_in_words(home: Path) -> None:
    write_preset("tiny", home / "foundry" / "one")
    shown = slmreg("show", "one").stdout
    assert "has_chat_template" in shown
    assert "None" not in shown


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("size_bytes", 2_400_000_000, "2.4 GB"),
        ("parameters", 3_800_000_000, "3.8B"),
        ("demo", False, "no"),
        ("can_reason", True, "yes"),
        ("tool_markers", {"start": "<tool_call>", "end": "</tool_call>"}, "<tool_call> ... </tool_call>"),
        ("tasks", ["chat", "code"], "chat code"),
        ("locations", ["/a b", "/c"], "/a b\n/c"),
        ("block_size", 32, "32"),
    ],
)
def test_values_read_as_people_write_them(key: str, value: Any, text: str) -> None:
    assert as_text(key, value) == text


@pytest.mark.parametrize(
    ("root", "text"),
    [
        ({"enabled": False}, "no, switched off"),
        ({"exists": False}, "not there now"),
        ({}, "yes"),
        ({"watched": {"method": "native", "reason": None}}, "yes, watched"),
        (
            {"watched": {"method": "polling", "reason": "it is on a network file system"}, "settle_s": 5.0},
            "yes, polling, settles in 5 s: it is on a network file system",
        ),
    ],
)
def test_how_a_root_is_searched_is_said_in_words(root: dict[str, Any], text: str) -> None:
    assert _how_searched({"enabled": True, "exists": True, "settle_s": None, "watched": None, **root}) == text
