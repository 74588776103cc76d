"""pin, unpin, pins: what people decide about which model serves a task."""

from __future__ import annotations

import click

from daemon.cli.backend import Json, open_backend
from daemon.cli.completing import complete_models, complete_tasks
from daemon.cli.output import print_json, print_table, say

_OTHERWISE = {"error": "an error", "auto": "slmreg chooses"}


@click.command()
@click.argument("task", shell_complete=complete_tasks)
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--fallback",
    type=click.Choice(("error", "auto")),
    default="error",
    show_default=True,
    help="When it cannot serve: an error, or slmreg chooses and says so.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pin(task: str, model: str, fallback: str, as_json: bool) -> None:
    """Always use MODEL for TASK.

    MODEL is an id, a name, an alias, or a pattern such as "phi-4-mini*", which follows the newest model that fits it.
    A pinned model that cannot serve is an error unless --fallback auto says otherwise; it is never replaced in silence.

    \b
    Example: slmreg pin chat phi-4-mini
    """
    with open_backend() as backend:
        pinned = backend.pin(task, model, fallback=fallback)
    if as_json:
        print_json(pinned)
        return
    is_followed = pinned["pattern"] is not None and not pinned["waiting"]
    means = f" (now {pinned['model']})" if is_followed else ""
    say(f"{pinned['pattern'] or pinned['model']} is pinned for {pinned['task']}{means}.")
    if pinned["problem"] is not None:
        say(f"It cannot serve now: {_sentence(pinned['problem'])}")


@click.command()
@click.argument("task", shell_complete=complete_tasks)
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
    """List the pins: what each means now, and why one cannot serve.

    \b
    Example: slmreg pins
    """
    with open_backend() as backend:
        found = backend.pins()
    if as_json:
        print_json(found)
        return
    print_table(("TASK", "PIN", "MEANS NOW", "IF IT CANNOT"), map(_row, found))
    for each in found:
        if each["problem"] is not None:
            say(f"\n{each['task']}: {_sentence(each['problem'])}")


def _row(pin: Json) -> tuple[str, ...]:
    means = "nothing here yet" if pin["waiting"] else pin["model"]
    return (pin["task"], pin["pattern"] or pin["model"], means, _OTHERWISE[pin["fallback"]])


def _sentence(problem: str) -> str:
    return problem if problem.endswith(".") else f"{problem}."


COMMANDS = (pin, unpin, pins)
