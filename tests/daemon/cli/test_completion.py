"""What shells offer, asked as they ask: through their own programs where those are installed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli.completion import SHELLS
from registry.model import ScanReport
from registry.store import Registry
from tests.fakes import a_model

# Each takes longer to import than a person notices.
HEAVY = {
    "pydantic",
    "sqlalchemy",
    "sqlmodel",
    "numpy",
    "fastapi",
    "httpx",
    "http.client",
    "rich",
    "asyncio",
    "onnxruntime",
}
# What is on PATH is not what is tested.
PROGRAM = f"""#!{sys.executable}
import sys
sys.argv[0] = "slmreg"
from daemon.cli import main
main()
"""
# What was typed, and what the line is after TAB. Where several fit, it is what they have in common.
LINES = {
    "slmreg doc": "slmreg doctor ",
    "slmreg show ph": "slmreg show phi-4-mini",
    "slmreg show phi-4-mini:": "slmreg show phi-4-mini:1 ",
    "slmreg show 'phi-4-mini:": "slmreg show 'phi-4-mini:1' ",
    "slmreg show QW": "slmreg show qwen\\ ü",
    "slmreg show 'QW": "slmreg show 'qwen ü",
    "slmreg show qwen\\ ": "slmreg show qwen\\ ü",
    "slmreg show qwen\\ ü:": "slmreg show qwen\\ ü:1 ",
    "slmreg run auto:mat": "slmreg run auto:math ",
    "slmreg serve --log-level w": "slmreg serve --log-level warning ",
    "slmreg select code --pol": "slmreg select code --policy ",
    "slmreg list --task=co": "slmreg list --task=code ",
    "slmreg roots add a": "slmreg roots add a\\ folder/",
    "slmreg import a-f": "slmreg import a-file.json ",
    "slmreg doctor --bundle=a-f": "slmreg doctor --bundle=a-file.json ",
    "true; X=1 slmreg show ph": "true; X=1 slmreg show phi-4-mini",
    "slmreg show nothing": "slmreg show nothing",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home that knows two models, and a program called slmreg."""
    with Registry.open(tmp_path / "home" / "registry.db") as registry:
        models = tuple(a_model(name, path=tmp_path / name) for name in ("phi-4-mini", "qwen ü"))
        report = ScanReport(models, (), (tmp_path,), 0.0)
        registry.apply(report)
    program = tmp_path / "bin" / "slmreg"
    program.parent.mkdir()
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLMREG_", "COMP_"))}
    root = str(Path(__file__).parents[3])
    path = f"{program.parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": root, "SLMREG_HOME": str(tmp_path / "home")}


def asked(shell: str, line: str, environment: dict[str, str]) -> list[str]:
    """As ``slmreg`` answers the script of ``shell`` when it was typed so far."""
    words = {"COMP_WORDS": line, "_SLMREG_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        ["slmreg"], env={**environment, **words}, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.stderr == ""
    return [offered.split("\t")[-1] for offered in done.stdout.splitlines() if offered]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the shell stands."""
    where = tmp_path / "here"
    (where / "a folder").mkdir(parents=True)
    (where / "a-file.json").touch()
    return where


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo terminals")
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_what_was_typed(shell: str, environment: dict[str, str], folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    from tests.daemon.cli.at_a_shell import shell_at

    with shell_at(shell, environment, folder) as at:
        assert {line: at.after_tab(line) for line in LINES} == LINES


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_finds_the_script_in_a_folder_of_its_path(environment: dict[str, str], tmp_path: Path) -> None:
    script = (
        "mkdir completions; slmreg completion zsh > completions/_slmreg; fpath=($PWD/completions $fpath); "
        "autoload -U compinit; compinit -u -D; print ${_comps[slmreg]}"
    )
    command = ["zsh", "-f", "-c", script]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("_slmreg", "")


FISH_OFFERS = {
    "slmreg doc": ["doctor\tSum up what is right here, what is not or..."],
    "slmreg show phi-4-mini:": ["phi-4-mini:1"],
    "slmreg show 'QW": ["qwen ü", "qwen ü:1"],
    "slmreg show qwen\\ ": ["qwen ü", "qwen ü:1"],
    "slmreg list --task=co": ["--task=code"],
    "slmreg roots add a": ["a folder/\tDirectory"],
    "slmreg import a-f": ["a-file.json"],
    "slmreg doctor --bundle=a-f": ["--bundle=a-file.json"],
    "true; X=1 slmreg show ph": ["phi-4-mini", "phi-4-mini:1"],
    "slmreg show nothing": [],
}


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
@pytest.mark.parametrize("line", FISH_OFFERS)
def test_fish_completes(line: str, environment: dict[str, str], folder: Path) -> None:
    command = ["fish", "-N", "-c", "slmreg completion fish | source; complete -C $argv[1]", line]
    said = {**environment, "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    done = subprocess.run(command, env=said, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=True)
    assert (done.stdout.splitlines(), done.stderr) == (FISH_OFFERS[line], "")


@pytest.mark.skipif(shutil.which("pwsh") is None, reason="there is no PowerShell")
def test_powershell_completes(environment: dict[str, str]) -> None:
    script = (
        "slmreg completion powershell | Out-String | Invoke-Expression; "
        "(TabExpansion2 'slmreg show phi' 15).CompletionMatches.CompletionText"
    )
    done = subprocess.run(
        ["pwsh", "-NoProfile", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["phi-4-mini", "phi-4-mini:1"]


def test_the_answer_to_powershell_is_the_same_line_by_line(environment: dict[str, str]) -> None:
    assert asked("powershell", "slmreg show ", environment) == ["phi-4-mini", "phi-4-mini:1", "qwen ü", "qwen ü:1"]
    assert asked("powershell", "slmreg unpin cha", environment) == ["chat"]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_that_asks_slmreg(shell: str, environment: dict[str, str]) -> None:
    done = subprocess.run(["slmreg", "completion", shell], env=environment, capture_output=True, text=True, check=True)
    assert "_SLMREG_COMPLETE" in done.stdout
    assert f"{shell}_complete" in done.stdout
    assert all(done.stdout.count(opening) == done.stdout.count(closing) for opening, closing in ("{}", "[]"))


@pytest.mark.parametrize("line", ["slmreg show x", "slmreg show 'x", "slmreg preset remove "])
def test_where_nothing_can_be_offered_nothing_is_said(line: str, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "home" / "registry.db").write_bytes(b"damaged")
    (tmp_path / "home" / "config.toml").write_text("so is = this", encoding="utf-8")
    assert asked("bash", line, environment) == []


def test_asking_makes_no_registry(environment: dict[str, str], tmp_path: Path) -> None:
    assert asked("bash", "slmreg show ", {**environment, "SLMREG_HOME": str(tmp_path / "nowhere")}) == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("line", ["slmreg ", "slmreg show ", "slmreg run ", "slmreg select ", "slmreg serve --"])
def test_whoever_types_waits_for_no_heavy_library(line: str, environment: dict[str, str]) -> None:
    code = (
        "import atexit, sys; sys.argv[0] = 'slmreg'; from daemon.cli import main; "
        f"atexit.register(lambda: print('heavy', *{HEAVY} & set(sys.modules), sep='\\t')); main()"
    )
    words = {"COMP_WORDS": line, "_SLMREG_COMPLETE": "bash_complete"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**environment, **words}, capture_output=True, text=True, check=True)
    *offered, imported = done.stdout.splitlines()
    assert offered
    assert imported == "heavy"
