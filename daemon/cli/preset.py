"""preset: names for a model together with a way to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from daemon.cli.backend import Json, open_backend
from daemon.cli.completing import complete_presets, complete_requested
from daemon.cli.manifest import read_text
from daemon.cli.output import print_json, print_table, say
from registry.errors import InvalidRequest

# As much of the system text as fits beside the other columns.
_SHOWN_CHARACTERS = 48
MAX_MODELFILE_BYTES = 1024 * 1024


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def preset(ctx: click.Context, as_json: bool) -> None:
    """Names that you give to a model together with a way to use it: a system text, parameters, messages.

    A preset can be used wherever a model's name can, in every API. What a request says itself counts first. Without a
    subcommand: list them.

    \b
    Example: slmreg preset list
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


@preset.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_presets(as_json: bool) -> None:
    """The presets, and the model that each means now.

    \b
    Example: slmreg preset list
    """
    _list(as_json)


@preset.command()
@click.argument("name", shell_complete=complete_presets)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """One preset, as the Modelfile that makes it again.

    \b
    Example: slmreg preset show mario
    """
    from daemon.modelfile import write_modelfile
    from registry.model import Preset

    with open_backend() as backend:
        found = backend.preset(name)
    if as_json:
        print_json(found)
        return
    fields = {key: found[key] for key in ("name", "system", "parameters", "messages")}
    click.echo(write_modelfile(Preset(base=found["from"], **fields)), nl=False)
    say(f"{found['name']} means {_means(found)} now.")


@preset.command()
@click.argument("name")
@click.option(
    "-f", "--file", type=click.Path(path_type=Path, allow_dash=True), help="A Modelfile; - is standard input."
)
@click.option(
    "--from",
    "base",
    metavar="MODEL",
    shell_complete=complete_requested,
    help="The model, auto, auto:<task>, or another preset.",
)
@click.option("--system", help="Goes in front of every chat that has no system message.")
@click.option(
    "--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="Can be given several times."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(
    name: str, file: Path | None, base: str | None, system: str | None, parameters: tuple[str, ...], as_json: bool
) -> None:
    """Give a model a name of its own, with a way to use it; an older preset of this name is replaced.

    Of a Modelfile FROM, PARAMETER, SYSTEM and MESSAGE are read. Options count before what it says. Parameters are
    Ollama's: temperature, top_p, top_k, min_p, seed, num_predict, num_ctx, stop, repeat_penalty, ...

    \b
    Example: slmreg preset create mario --from phi-4-mini --system "You are Mario." -p temperature=0.5
    """
    said = _said(file, base, system, parameters)
    with open_backend() as backend:
        made = backend.create_preset(name, said.pop("base"), **said)
    print_json(made) if as_json else say(f"{made['name']} is a preset of {made['from']} (now {_means(made)}).")


@preset.command()
@click.argument("name", shell_complete=complete_presets)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove(name: str, as_json: bool) -> None:
    """Forget a preset. Its model stays as it is.

    \b
    Example: slmreg preset remove mario
    """
    with open_backend(is_fresh=False) as backend:
        removed = backend.remove_preset(name)
    print_json(removed) if as_json else say(f"{removed['removed']} is no preset any more.")


def _said(file: Path | None, base: str | None, system: str | None, parameters: tuple[str, ...]) -> Json:
    """What ``Presets.create`` takes, of the file and of the options. Raises InvalidRequest."""
    from daemon.modelfile import Draft, add_parameter, read_modelfile

    draft = Draft()
    if file is not None:
        draft = read_modelfile(read_text(file, max_bytes=MAX_MODELFILE_BYTES, what="Modelfile"))
    if not base and not draft.base:
        raise InvalidRequest("Say which model it is a preset of: --from MODEL, or -f with a Modelfile.")
    by_option: dict[str, Any] = {}
    for each in parameters:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidRequest(f"{each!r:.100} is no parameter: write NAME=VALUE, as in temperature=0.5.")
        add_parameter(by_option, name.strip(), value)
    return {
        "base": base or draft.base,
        "system": system if system is not None else draft.system,
        "parameters": {**draft.parameters, **by_option},
        "messages": draft.messages,
    }


def _list(as_json: bool) -> None:
    with open_backend() as backend:
        found = backend.presets()
    if as_json:
        print_json(found)
        return
    print_table(("NAME", "FROM", "MEANS NOW", "PARAMETERS", "SYSTEM"), map(_row, found))


def _row(found: Json) -> tuple[str, ...]:
    parameters = " ".join(f"{name}={value}" for name, value in found["parameters"].items())
    system = " ".join(found["system"].split())
    if len(system) > _SHOWN_CHARACTERS:
        system = f"{system[:_SHOWN_CHARACTERS]}..."
    return found["name"], found["from"], _means(found), parameters, system


def _means(found: Json) -> str:
    from daemon.wants import is_auto

    return found["means"] or ("what slmreg chooses" if is_auto(found["from"]) else "nothing that is here")


COMMANDS = (preset,)
