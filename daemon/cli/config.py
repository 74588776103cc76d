"""config show, get, set, unset, edit, path, check, example: the settings, where each is from, and their file."""

from __future__ import annotations

import json
from typing import Any

import click

from daemon.cli.config_change import CHANGES
from daemon.cli.config_values import effective_settings, row_of
from daemon.cli.output import print_json, print_table, say
from daemon.paths import home_paths
from registry.errors import SettingsError


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def config(ctx: click.Context, as_json: bool) -> None:
    """Show and change the settings.

    A flag of `slmreg serve` beats SLMREG_<NAME> in the environment, which beats config.toml, which beats the default.
    A running daemon takes up what changes in config.toml by itself.

    \b
    Example: slmreg config set keep_alive 30m
    """
    if ctx.invoked_subcommand is None:
        _show(as_json)


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """Show every setting with its value, and where that is from: those of the running daemon, if one runs.

    \b
    Example: slmreg config show
    """
    _show(as_json)


@config.command()
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the origin.")
def get(key: str, as_json: bool) -> None:
    """Print the value of KEY: a setting, or an entry of one that is a table, as in keep_alive_models.phi-4.

    \b
    Example: slmreg config get keep_alive
    """
    from daemon.config.keys import parse_key, value_at

    path = parse_key(key)
    row = row_of(effective_settings(), path[0])
    value = value_at(row["value"], path[1:])
    if value is None and len(path) > 1:
        raise SettingsError(f"{key} is not set.")
    if as_json:
        print_json({**row, "key": key, "value": value})
    else:
        click.echo(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@config.command("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def print_path(as_json: bool) -> None:
    """Print where config.toml is, or would be.

    \b
    Example: slmreg config path
    """
    path = home_paths().config
    print_json({"path": str(path), "exists": path.exists()}) if as_json else click.echo(str(path))


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Say what is wrong with config.toml and SLMREG_* in the environment. Exit code 1 if anything is.

    \b
    Example: slmreg config check
    """
    from daemon.config.layers import examine

    paths = home_paths()
    problems = examine(paths).problems
    if as_json:
        found = [{"line": each.line, "key": each.key, "message": each.message} for each in problems]
        print_json({"path": str(paths.config), "exists": paths.config.exists(), "problems": found})
    for problem in () if as_json else problems:
        click.echo(problem.message)
    if problems:
        ctx.exit(1)
    if not as_json:
        say("Nothing is wrong." if paths.config.exists() else f"Nothing is wrong; there is no {paths.config}.")


@config.command("example")
def print_example() -> None:
    """Print a config.toml with every setting, what it means, and its default, all commented out.

    \b
    Example: slmreg config example
    """
    from daemon.config.example import example

    click.echo(example(), nl=False)


def _show(as_json: bool) -> None:
    found = effective_settings()
    if as_json:
        print_json(found)
        return
    rows = [(row["key"], _shown(row["value"]), row["where"] or row["origin"]) for row in found["data"]]
    print_table(("SETTING", "VALUE", "FROM"), rows, wrap="VALUE")
    for row in found["data"]:
        if "waiting" in row:
            say(f"{row['key']} = {_shown(row['waiting'])} counts when the daemon is started again.")
    if found["problem"] is not None:
        say(f"What was changed since does not count:\n{found['problem']}")


def _shown(value: Any) -> str:
    if value in (None, [], {}):
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


for change in CHANGES:
    config.add_command(change)

COMMANDS = (config,)
