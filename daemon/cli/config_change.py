"""config set, unset, edit: change config.toml, and say when that counts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.backend import Json
from daemon.cli.config_values import effective_settings, reloaded, row_of
from daemon.cli.output import print_json, say
from daemon.paths import home_paths
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


@click.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a value
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


@click.command()
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


@click.command()
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
    _say_what_counts(reloaded())


def _change(key: str, path: KeyPath, edited: Edited, as_json: bool) -> None:
    """Write what was ``edited``, have a daemon take it up, and say what that means."""
    from daemon.config.file import write_private

    file = home_paths().config
    write_private(file, edited.text)
    if edited.problems:
        lines = "\n".join(problem.message for problem in edited.problems)
        raise SettingsError(f"{key} is changed, and counts when the rest of the file is right:\n{lines}")
    effect, beaten_by = _effect_of(path)
    if as_json:
        print_json({"key": key, "changed": True, "path": str(file), "takes_effect": effect, "beaten_by": beaten_by})
        return
    say(f"{key} is changed in {file}.")
    say(f"{beaten_by} beats it, so that it counts for nothing here." if beaten_by is not None else _COUNTS[effect])


def _effect_of(path: KeyPath) -> tuple[str, str | None]:
    """When what stands in the file takes effect ("start": no daemon runs), and what beats it, if anything does."""
    from daemon.config.effect import effect_at

    answer = reloaded()
    found = effective_settings()
    if path[0] not in {row["key"] for row in found["data"]}:  # it was no setting, and is gone
        return "now", None
    row = row_of(found, path[0])
    is_beaten = row["origin"] in ("environment", "flag")
    effect = str(effect_at(path)) if answer is not None else "start"
    return effect, row["where"] if is_beaten else None


def _say_what_counts(answer: Json | None) -> None:
    if answer is None:
        say(_COUNTS["start"])
        return
    for names, when in (("changed", "now"), ("changed_for_loads", "load"), ("need_restart", "restart")):
        if answer[names]:
            say(f"{', '.join(answer[names])}: {_COUNTS[when]}")


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


CHANGES = (set_value, unset, edit)
