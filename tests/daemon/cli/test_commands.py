from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from daemon.cli import main
from daemon.settings import Settings

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group = main, path: str = "slmreg") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


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
