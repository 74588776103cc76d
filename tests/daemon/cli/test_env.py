from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.cli.env import SHELLS, shell_of
from registry.store import Registry

STRANGE = "a b'c\"d$HOME`id`\\%x% ’; &é"


def env(home: Path, *arguments: str, **settings: str) -> Result:
    nobody = {"SLMREG_PORT": "9", "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return CliRunner().invoke(main, ["env", *arguments], env={"SLMREG_HOME": str(home), **nobody, **settings})


def test_without_a_daemon_it_is_the_configured_address_and_says_so(tmp_path: Path) -> None:
    done = env(tmp_path, "--json", SLMREG_HOST="::1")
    said = json.loads(done.stdout)
    assert said["OPENAI_BASE_URL"] == "http://[::1]:9/v1"
    assert said["OLLAMA_HOST"] == said["ANTHROPIC_BASE_URL"] == "http://[::1]:9"
    assert said["OPENAI_API_KEY"] == said["ANTHROPIC_API_KEY"] == "none"
    assert "No slmreg daemon is running" in done.stderr


def test_where_a_key_is_needed_no_placeholder_takes_its_place(tmp_path: Path) -> None:
    done = env(tmp_path, "--json", SLMREG_REQUIRE_KEY="true")
    assert [name for name in json.loads(done.stdout) if name.endswith("KEY")] == []
    assert "slmreg key create" in done.stderr

    with Registry.open(tmp_path / "registry.db") as registry:
        assert not registry.api_keys()
    assert "OPENAI_API_KEY" in json.loads(env(tmp_path, "--json").stdout)
    created = CliRunner().invoke(main, ["key", "create", "app"], env={"SLMREG_HOME": str(tmp_path)})
    assert created.exit_code == 0
    assert "OPENAI_API_KEY" not in json.loads(env(tmp_path, "--json").stdout)


def test_with_any_free_port_nobody_can_know_the_address(tmp_path: Path) -> None:
    done = env(tmp_path, SLMREG_PORT="0")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "port 0" in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_shell_evaluates_it_and_nothing_else(tmp_path: Path) -> None:
    said = env(tmp_path, "--shell", "bash").stdout
    script = f'{said}{SHELLS["bash"]("STRANGE", STRANGE)}\nprintf "%s\\n" "$OPENAI_BASE_URL" "$STRANGE"'
    done = subprocess.run(["bash", "-euc", script], capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == ["http://127.0.0.1:9/v1", STRANGE]


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("fish", r"set -gx N 'it\'s \\ $x'"),
        ("powershell", "$Env:N = 'it''s \\ $x'"),
        ("zsh", "export N='it'\"'\"'s \\ $x'"),
        ("cmd", 'set "N=it\'s \\ $x"'),
    ],
)
def test_other_shells_get_their_own_quotes(shell: str, line: str) -> None:
    assert SHELLS[shell]("N", r"it's \ $x") == line


def test_powershell_takes_typographic_quotes_for_plain_ones() -> None:
    assert SHELLS["powershell"]("N", "a’b") == "$Env:N = 'a’’b'"


@pytest.mark.parametrize(
    ("environment", "os_name", "shell"),
    [
        ({"SHELL": "/usr/bin/fish"}, "posix", "fish"),
        ({"SHELL": "/bin/dash"}, "posix", "bash"),
        ({}, "posix", "bash"),
        ({}, "nt", "powershell"),
    ],
)
def test_the_shell_is_that_of_the_environment(environment: dict[str, str], os_name: str, shell: str) -> None:
    assert shell_of(environment, os_name) == shell
