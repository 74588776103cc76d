"""slmreg config without a daemon; tests/e2e/test_settings.py has it with one."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def config(home: Path, *arguments: str, input: str | None = None, **environment: str) -> Result:
    return CliRunner().invoke(
        main, ["config", *arguments], input=input, env={"SLMREG_HOME": str(home), "SLMREG_PORT": None, **environment}
    )


def as_json(home: Path, *arguments: str, **environment: str) -> Any:
    return json.loads(config(home, *arguments, "--json", **environment).stdout)


def rows(home: Path, **environment: str) -> dict[str, Any]:
    return {row["key"]: row for row in as_json(home, "show", **environment)["data"]}


def test_what_is_set_stands_in_the_file_for_its_owner_alone_and_in_show_with_its_origin(home: Path) -> None:
    done = config(home, "set", "keep_alive", "-1")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "when a daemon is started" in done.stderr
    file = home / "config.toml"
    assert file.read_text(encoding="utf-8") == "keep_alive = -1\n"
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = rows(home, SLMREG_PORT="9")
    assert set(shown) == set(Settings.model_fields)
    assert (shown["keep_alive"]["value"], shown["keep_alive"]["where"]) == (-1, f"{file}:1")
    origins = {key: (row["value"], row["origin"]) for key, row in shown.items()}
    assert origins["port"] == (9, "environment")
    assert origins["keep_alive"] == (-1, "config.toml")
    assert origins["threads"] == (None, "default")
    assert (shown["port"]["needs_restart"], shown["keep_alive"]["needs_restart"]) == (True, False)
    assert "SLMREG_PORT" in config(home, SLMREG_PORT="9").stdout


def test_get_prints_what_a_script_wants(home: Path) -> None:
    for key, value in (("allow", "phi*,qwen*"), ("models.phi-4.5*.keep_alive", "1m"), ("policy", "fast")):
        assert config(home, "set", key, value).exit_code == 0
    assert config(home, "get", "policy").stdout == "fast\n"
    assert config(home, "get", "allow").stdout == '["phi*", "qwen*"]\n'
    assert config(home, "get", "threads").stdout == "null\n"
    assert config(home, "get", "models.phi-4.5*.keep_alive").stdout == "60.0\n"
    assert as_json(home, "get", "policy")["origin"] == "config.toml"
    missing = config(home, "get", "models.phi-4.5*.threads")
    assert (missing.exit_code, "is not set" in missing.stderr) == (1, True)


def test_a_value_that_is_wrong_or_beaten_is_said(home: Path) -> None:
    wrong = config(home, "set", "port", "many")
    assert (wrong.exit_code, "port = 'many' is not usable" in wrong.stderr) == (1, True)
    assert not (home / "config.toml").exists()
    beaten = config(home, "set", "port", "8000", SLMREG_PORT="9")
    assert "SLMREG_PORT beats it" in beaten.stderr
    told = as_json(home, "set", "port", "8001", SLMREG_PORT="9")
    assert (told["takes_effect"], told["beaten_by"]) == ("start", "SLMREG_PORT")


def test_unset_takes_out_what_is_there_and_is_fine_with_what_is_not(home: Path) -> None:
    config(home, "set", "port", "8000")
    assert as_json(home, "unset", "port")["changed"]
    assert rows(home)["port"]["origin"] == "default"
    assert as_json(home, "unset", "port") == {"key": "port", "changed": False}
    (home / "config.toml").write_text("prot = 1\n", encoding="utf-8")
    assert config(home, "unset", "prot").exit_code == 0
    assert config(home, "check").exit_code == 0


def test_check_names_line_and_key_of_everything_that_is_wrong(home: Path) -> None:
    assert config(home, "check").exit_code == 0
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text("prot = 1\n\nthreads = 'x'\n", encoding="utf-8")
    done = config(home, "check")
    assert done.exit_code == 1
    first, second = done.stdout.splitlines()
    assert first.endswith("config.toml:1: there is no setting prot. Did you mean port?")
    assert "config.toml:3: threads = 'x' is not usable" in second
    problems = as_json(home, "check")["problems"]
    assert [(each["line"], each["key"]) for each in problems] == [(1, "prot"), (3, "threads")]
    (in_environment,) = [each for each in as_json(home, "check", SLMREG_PORT="x")["problems"] if each["key"] == "port"]
    assert (in_environment["line"], "SLMREG_PORT" in in_environment["message"]) == (None, True)


def test_path_and_example_say_where_and_what(home: Path) -> None:
    assert config(home, "path").stdout == f"{home / 'config.toml'}\n"
    assert as_json(home, "path")["exists"] is False
    assert "# port = 7567" in config(home, "example").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the editors are shell scripts")
def test_edit_takes_over_what_is_right_and_nothing_else(home: Path, tmp_path: Path) -> None:
    def editor(name: str, script: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    wrong = editor("wrong", """echo 'port = "many"' > "$1" """)
    refused = config(home, "edit", input="n\n", VISUAL=wrong, EDITOR=wrong)
    assert ("config.toml:1: port = 'many'" in refused.stderr, "Nothing is changed" in refused.stderr) == (True, True)
    assert not (home / "config.toml").exists()
    right = editor("right", """grep -q '# port = 7567' "$1" && echo 'port = 8000' > "$1" """)
    done = config(home, "edit", VISUAL=right, EDITOR=right)
    assert (done.exit_code, (home / "config.toml").read_text(encoding="utf-8")) == (0, "port = 8000\n"), done.stderr
    same = editor("same", "true")
    assert "Nothing is changed" in config(home, "edit", VISUAL=same, EDITOR=same).stderr
