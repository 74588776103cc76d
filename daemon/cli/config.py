"""config show, get, set, unset, edit, path, check, example: the settings, where each is from, and their file."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.backend import HttpBackend, Json, home_paths
from daemon.cli.daemon_link import find_daemon
from daemon.cli.output import print_json, print_table, say
from registry.errors import SettingsError

if TYPE_CHECKING:
    from daemon.config.file import Edited
    from daemon.config.lines import KeyPath

_COUNTS = {
    "now": "It counts from now on.",
    "load": "It counts for models that are loaded from now on.",
    "restart": "It counts when the daemon is started again.",
    "start": "It counts when a daemon is started.",
}


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
    row = _row_of(_settings(), path[0])
    value = value_at(row["value"], path[1:])
    if value is None and len(path) > 1:
        raise SettingsError(f"{key} is not set.")
    if as_json:
        print_json({**row, "key": key, "value": value})
    else:
        click.echo(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@config.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("key")
@click.argument("value")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def set_value(key: str, value: str, as_json: bool) -> None:
    """Write KEY = VALUE into config.toml, unless that is wrong; comments and order stay.

    VALUE is text, a number, a list with commas, or TOML. KEY may be an entry of a table: models.phi-4*.threads.

    \b
    Example: slmreg config set models.phi-4*.threads 4
    """
    from daemon.config.file import with_value
    from daemon.config.keys import parse_key

    path = parse_key(key)
    _change(key, path, with_value(home_paths().config, path, value), as_json)


@config.command()
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def unset(key: str, as_json: bool) -> None:
    """Take KEY out of config.toml. What is not there is fine; a wrong name may be taken out too.

    \b
    Example: slmreg config unset keep_alive
    """
    from daemon.config.file import without
    from daemon.config.keys import parse_key

    try:
        path = parse_key(key)
    except SettingsError:
        path = tuple(key.split("."))  # it may stand there all the same, which is what is wrong with the file
    edited = without(home_paths().config, path)
    if edited is None:
        print_json({"key": key, "changed": False}) if as_json else say(f"{key} does not stand in config.toml.")
        return
    _change(key, path, edited, as_json)


@config.command()
def edit() -> None:
    """Open config.toml in your editor ($VISUAL, $EDITOR), and take it over when it is right.

    \b
    Example: slmreg config edit
    """
    from daemon.config.example import example
    from daemon.config.file import write_private
    from daemon.config.layers import read_text

    path = home_paths().config
    before = read_text(path)
    with tempfile.TemporaryDirectory(prefix="slmreg-") as folder:
        draft = Path(folder, path.name)
        write_private(draft, before or example())
        text = _edited(draft, path)
    if text is None or text == before:
        say("Nothing is changed.")
        return
    write_private(path, text)
    say(f"{path} is changed.")
    _say_what_counts(_reloaded())


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
    found = _settings()
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


def _settings() -> Json:
    """Those of the daemon, or else what one would have that is started here."""
    from daemon.config.layers import load_effective
    from daemon.config.report import settings_json

    paths = home_paths()
    running = find_daemon(paths.run_file)
    if running is None:
        return settings_json(load_effective(paths), paths.config)
    with HttpBackend(running) as daemon:
        return daemon.settings()


def _row_of(found: Json, name: str) -> Json:
    return next(row for row in found["data"] if row["key"] == name)


def _change(key: str, path: KeyPath, edited: Edited, as_json: bool) -> None:
    """Write what was ``edited``, have a daemon take it up, and say what that means."""
    from daemon.config.file import write_private

    file = home_paths().config
    write_private(file, edited.text)
    if edited.problems:
        lines = "\n".join(problem.message for problem in edited.problems)
        raise SettingsError(f"{key} is changed, and counts when the rest of the file is right:\n{lines}")
    effect, beaten_by = _effect_of(path[0])
    if as_json:
        print_json({"key": key, "changed": True, "path": str(file), "takes_effect": effect, "beaten_by": beaten_by})
        return
    say(f"{key} is changed in {file}.")
    say(f"{beaten_by} beats it, so that it counts for nothing here." if beaten_by is not None else _COUNTS[effect])


def _effect_of(name: str) -> tuple[str, str | None]:
    """When what stands in the file takes effect ("start": no daemon runs), and what beats it, if anything does."""
    reloaded = _reloaded()
    found = _settings()
    if name not in {row["key"] for row in found["data"]}:
        return "now", None
    row = _row_of(found, name)
    is_beaten = row["origin"] in ("environment", "flag")
    return row["takes_effect"] if reloaded is not None else "start", row["where"] if is_beaten else None


def _reloaded() -> Json | None:
    """What a running daemon makes of the file now, without waiting until it notices; None if there is no daemon."""
    running = find_daemon(home_paths().run_file)
    if running is None:
        return None
    with HttpBackend(running) as daemon:
        return daemon.reload_settings()


def _say_what_counts(reloaded: Json | None) -> None:
    if reloaded is None:
        say(_COUNTS["start"])
        return
    for names, when in (("changed", "now"), ("changed_for_loads", "load"), ("need_restart", "restart")):
        if reloaded[names]:
            say(f"{', '.join(reloaded[names])}: {_COUNTS[when]}")


def _edited(draft: Path, path: Path) -> str | None:
    """What the editor leaves, once it is right; None if somebody gives up."""
    from daemon.config.layers import examine_text, read_text

    while True:
        click.edit(filename=str(draft))
        text = read_text(draft)
        problems = examine_text(text, path, os.environ).problems
        if not problems:
            return text
        for problem in problems:
            say(problem.message)
        if not click.confirm("Edit it again?", default=True, err=True):
            return None


COMMANDS = (config,)
