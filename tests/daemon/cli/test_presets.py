"""The commands of presets in this process and without a daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from scripts.model_factory import write_preset

MODELFILE = """FROM fam
PARAMETER temperature 0.3
PARAMETER stop a
SYSTEM Be Mario.
MESSAGE user hi
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One model in a Foundry cache that is found by itself, and a Modelfile."""
    monkeypatch.setenv("SLMREG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLMREG_FOUNDRY_CACHES", str(tmp_path / "foundry"))
    monkeypatch.setenv("SLMREG_HF_CACHE", "")
    write_preset("tiny", tmp_path / "foundry" / "fam-1", name="fam:1")
    (tmp_path / "Modelfile").write_text(MODELFILE, encoding="utf-8")
    return tmp_path


def slmreg(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(main, ("preset", *arguments), input=stdin)
    assert result.exit_code == code, result.output
    return result


def as_json(*arguments: str) -> Any:
    return json.loads(slmreg(*arguments, "--json").stdout)


def test_a_preset_is_made_of_a_modelfile_shown_as_one_and_removed(home: Path) -> None:
    made = as_json("create", "mario", "-f", str(home / "Modelfile"))
    assert made.pop("modified_at")
    assert made == {
        "name": "mario",
        "from": "fam",
        "means": "fam:1",
        "system": "Be Mario.",
        "parameters": {"temperature": 0.3, "stop": ["a"]},
        "messages": [{"role": "user", "content": "hi"}],
    }
    assert [each["name"] for each in as_json("list")] == [each["name"] for each in as_json()] == ["mario"]
    assert "fam:1" in slmreg("list").stdout
    shown = slmreg("show", "MARIO").stdout
    again = slmreg("create", "luigi", "-f", "-", "--json", stdin=shown)
    assert json.loads(again.stdout)["parameters"] == made["parameters"]
    assert as_json("remove", "mario") == {"removed": "mario"}
    assert "luigi" in slmreg("show", "mario", code=1).output


def test_options_count_before_the_file(home: Path) -> None:
    file = ("-f", str(home / "Modelfile"), "--system", "", "-p", "temperature=1", "-p", "stop=b", "-p", "stop=c=d")
    made = as_json("create", "mario", *file, "--from", "auto:code")
    assert (made["from"], made["means"], made["system"]) == ("auto:code", None, "")
    assert made["parameters"] == {"temperature": 1, "stop": ["b", "c=d"]}
    assert "what slmreg chooses" in slmreg("list").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("create", "x"), "Say which model"),
        (("create", "x", "--from", "nobody"), "no model 'nobody'"),
        (("create", "x", "--from", "fam", "-p", "temperature"), "NAME=VALUE"),
        (("create", "x", "--from", "fam", "-p", "creativity=1"), "no parameter 'creativity'"),
        (("create", "x", "-f", "/no/such/file"), "cannot be read"),
        (("create", "fam", "--from", "fam"), "already a model"),
        (("remove", "x"), "There are none"),
    ],
)
@pytest.mark.usefixtures("home")
def test_what_cannot_be_done_says_why(arguments: tuple[str, ...], reason: str) -> None:
    assert reason in slmreg(*arguments, code=1).output
