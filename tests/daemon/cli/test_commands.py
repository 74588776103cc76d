from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from daemon import __version__
from daemon.cli import MODULES, main
from daemon.settings import Settings

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")

HEAVY = {
    "onnxruntime",
    "onnxruntime_genai",
    "numpy",
    "pydantic",
    "sqlalchemy",
    "fastapi",
    "httpx",
    "http.client",
    "asyncio",
}


def commands(group: click.Group = main, path: str = "slmreg") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_the_commands_that_the_table_says(module: str) -> None:
    assert tuple(command.name for command in import_module(f"daemon.cli.{module}").COMMANDS) == MODULES[module]


def test_what_is_no_command_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["selct"])
    assert (done.exit_code, done.output.count("selct")) == (2, 1)


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_every_command_explains_itself_with_an_example_and_stands_in_the_readme(path: str) -> None:
    command = dict(commands())[path]
    assert command.help
    assert f"Example: {path}" in command.help
    assert f"`{path}" in README


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    for name, field in Settings.model_fields.items():
        (row,) = [line for line in README.splitlines() if line.startswith(f"| `{name}` |")]
        default = "unset" if field.default in (None, (), {}) else field.default
        default = ", ".join(default) if isinstance(default, tuple) else str(default)
        assert f"| {default.lower()} |" in row.lower(), row


def test_the_version_tells_those_of_the_engine_as_well() -> None:
    done = CliRunner().invoke(main, ["--version"])
    assert (done.exit_code, done.output.count("\n")) == (0, 1)
    assert done.output.startswith(f"slmreg {__version__} (Python {sys.version.split()[0]}")
    for package in ("onnxruntime", "onnxruntime-genai"):
        assert f"{package} {metadata.version(package)}" in done.output


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["serve", "--help"], ["list", "--help"]])
def test_what_needs_no_heavy_library_imports_none(arguments: list[str]) -> None:
    code = (
        f"import sys; from daemon.cli import main; main({arguments}, standalone_mode=False); "
        f"print(*{HEAVY} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ""
