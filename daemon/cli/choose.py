"""select, hw: which model for a task, and on what machine."""

from __future__ import annotations

import re
from typing import Any

import click

from daemon.bounds import MAX_BYTES, MAX_CONTEXT_TOKENS, MAX_SECONDS
from daemon.cli.backend import Backend, Json, open_backend
from daemon.cli.completing import complete_tasks
from daemon.cli.hardware_rows import hardware_rows
from daemon.cli.ledger import print_ledger, print_rejected
from daemon.cli.output import print_json, print_table, say
from daemon.paths import home_paths
from selector.policy import Policy

POLICIES = tuple(map(str, Policy))
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_LANGUAGE = re.compile("[a-z]{2}")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size_bytes(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Bytes as people write them: 6GB, 800MB, 1.5GiB, or a plain number."""
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()]) if found else 0
    if not 0 < size <= MAX_BYTES:
        raise click.BadParameter(f"{text!r} is no size; write 6GB, 800MB or a number of bytes.")
    return size


def language_code(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Two letters, in lower case."""
    code = text.strip().lower() if text is not None else None
    if code is not None and not _LANGUAGE.fullmatch(code):
        raise click.BadParameter(f"{text!r} is no ISO 639-1 code, such as de or en.")
    return code


def seconds(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """Above 0, and not nan or for ever, which a range would let pass."""
    if value is not None and not 0 < value <= MAX_SECONDS:
        raise click.BadParameter(f"{value:g} is not between 0 and a million.")
    return value


@click.command()
@click.argument("task", shell_complete=complete_tasks)
@click.option("--explain", is_flag=True, help="Show the whole ledger, every rejected model, and what would change it.")
@click.option("--context", "context_tokens", type=click.IntRange(1, MAX_CONTEXT_TOKENS), help="Tokens needed at least.")
@click.option("--tools", "needs_tools", is_flag=True, help="Only models that can call tools.")
@click.option("--vision", "needs_vision", is_flag=True, help="Only models that take images.")
@click.option("--needs-json", is_flag=True, help="Only models that can write JSON.")
@click.option("--language", callback=language_code, help="Models that know this language (ISO 639-1, such as de).")
@click.option(
    "--max-memory",
    "max_memory_bytes",
    callback=size_bytes,
    metavar="SIZE",
    help="Most memory it may need, such as 6GB.",
)
@click.option(
    "--deadline",
    "deadline_s",
    type=float,
    callback=seconds,
    help="Seconds that a whole answer may take, loading included.",
)
@click.option("--allow", multiple=True, metavar="GLOB", help="Only these models; may be given several times.")
@click.option("--deny", multiple=True, metavar="GLOB", help="Not these models; may be given several times.")
@click.option("--thinking/--no-thinking", default=None, help="Only answers with reasoning first, or only without.")
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    help="What waiting weighs against quality [default: the setting].",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def select(ctx: click.Context, /, task: str, explain: bool, as_json: bool, **wishes: Any) -> None:
    """Choose the best model for TASK.

    Tasks: chat code reasoning math tools vision transcription embeddings.
    Nothing is loaded. The chosen id is the last line on standard output.

    \b
    Example: slmreg select code --explain
    """
    with open_backend() as backend:
        selection = backend.select(task, **_said(wishes))
    chosen = selection["chosen"]
    if as_json:
        print_json(selection)
    else:
        if explain:
            say(f"{selection['reason']}\n")
            print_ledger(selection)
        elif chosen is None:
            print_rejected(selection["rejected"])
        if not explain:
            say(selection["reason"])
        if chosen is not None:
            click.echo(chosen)
    if chosen is None:
        ctx.exit(1)


def _said(wishes: Json) -> Json:
    """What was really asked for."""
    said = {name: value for name, value in wishes.items() if value not in (None, ())}
    return {**said, "policy": Policy(said["policy"])} if "policy" in said else said


@click.command()
@click.option("--probe", is_flag=True, help="Measure memory and arithmetic again; the best of all times counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def hw(probe: bool, as_json: bool) -> None:
    """Show what this machine can do.

    Cores, memory and its speed, accelerators (and why one is not used), execution providers, the disks of the roots.

    \b
    Example: slmreg hw --probe
    """
    with open_backend(is_fresh=False) as backend:
        hardware = _hardware(backend, probe=probe)
    if as_json:
        print_json(hardware)
    else:
        print_table(("", " "), hardware_rows(hardware), wrap=" ")


def _hardware(backend: Backend, *, probe: bool) -> Json:
    """The machine, measured on the first time and whenever that is asked for; here, not in a daemon that answers."""
    from daemon.machine import measure

    cache_file = home_paths().hardware_cache
    hardware = backend.hardware()
    if probe or hardware["probes"]["bandwidth_bytes_per_s"] is None:
        measure(cache_file, hardware)
        hardware = backend.hardware()
    return hardware


COMMANDS = (select, hw)
