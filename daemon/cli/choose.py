"""select, pin, unpin, pins, hw: which model for a task, and on what machine."""

from __future__ import annotations

import click

from daemon.cli.backend import Backend, Json, home_paths, open_backend
from daemon.cli.hardware_rows import hardware_rows
from daemon.cli.output import gigabytes, print_json, print_table, say


@click.command()
@click.argument("task")
@click.option("--explain", is_flag=True, help="Show the whole ledger and every rejected model.")
@click.option("--context", "context_tokens", type=click.IntRange(min=1), help="Tokens of context needed at least.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def select(ctx: click.Context, task: str, explain: bool, context_tokens: int | None, as_json: bool) -> None:
    """Choose the best model for TASK.

    Tasks: chat code reasoning math tools vision transcription embeddings.
    The chosen id is the last line on standard output.

    \b
    Example: slmreg select code --explain
    """
    with open_backend() as backend:
        selection = backend.select(task, context_tokens=context_tokens)
    if as_json:
        print_json(selection)
    elif explain:
        _print_ledger(selection)
    if selection["chosen"] is None:
        if not as_json:
            _print_rejected(selection, only_if=not explain)
            say(f"No model for {task}. {selection['reason']}")
        ctx.exit(1)
    if not as_json:
        say(selection["reason"])
        click.echo(selection["chosen"])


def _print_ledger(selection: Json) -> None:
    ranking = selection["ranking"]
    if ranking:
        terms = list(dict.fromkeys(term for candidate in ranking for term in candidate["terms"]))
        columns = ("MODEL", "UTILITY", *(term.upper() for term in terms), "NEEDS", "CONTEXT", "TOK/S", "TTFT")
        rows = (
            (
                candidate["id"],
                f"{candidate['utility']:.1f}",
                *(f"{candidate['terms'].get(term, 0.0):+.1f}" for term in terms),
                gigabytes(candidate["need_bytes"]),
                str(candidate["context_tokens"]),
                f"{candidate['tokens_per_second']:.1f}",
                f"{candidate['ttft_s']:.2f} s",
            )
            for candidate in ranking
        )
        print_table(columns, rows, right=columns[1:])
    _print_rejected(selection, only_if=True)


def _print_rejected(selection: Json, *, only_if: bool) -> None:
    if only_if and selection["rejected"]:
        print_table(
            ("REJECTED", "BECAUSE", ""), ((r["id"], r["code"], r["message"]) for r in selection["rejected"]), wrap=""
        )


@click.command()
@click.argument("task")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pin(task: str, model: str, as_json: bool) -> None:
    """Always use MODEL for TASK.

    A pinned model that cannot serve is an error; it is never replaced in silence.

    \b
    Example: slmreg pin chat phi-4-mini
    """
    with open_backend() as backend:
        pinned = backend.pin(task, model)
    if as_json:
        print_json(pinned)
    else:
        say(f"{pinned['model']} is pinned for {pinned['task']}.")


@click.command()
@click.argument("task")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def unpin(task: str, as_json: bool) -> None:
    """Let slmreg choose for TASK again.

    \b
    Example: slmreg unpin chat
    """
    with open_backend(is_fresh=False) as backend:
        backend.unpin(task)
    print_json({"unpinned": task}) if as_json else say(f"{task} is not pinned.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pins(as_json: bool) -> None:
    """List the pins.

    \b
    Example: slmreg pins
    """
    with open_backend(is_fresh=False) as backend:
        found = backend.pins()
    if as_json:
        print_json(found)
    else:
        rows = ((p["task"], p["model"] + (" (waits until it is here)" if p["waiting"] else "")) for p in found)
        print_table(("TASK", "MODEL"), rows)


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


COMMANDS = (select, pin, unpin, pins, hw)
