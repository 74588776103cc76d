"""rate: what people and tests say about how well a model does a task here."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from daemon.cli.backend import Json, open_backend
from daemon.cli.completing import complete_models, complete_tasks
from daemon.cli.output import print_json, print_table, say

_RATING = re.compile(r"[1-5]")
_TEST = re.compile(r"(\d{1,6})/(\d{1,6})")


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.argument("task", required=False, shell_complete=complete_tasks)
@click.argument("score", required=False)
@click.option("--notes", help="A word on why.")
@click.option("--thinking/--no-thinking", default=None, help="Whether it reasoned before it answered.")
@click.option("--forget", is_flag=True, help="Forget what was said: for TASK, or all of it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rate(
    model: str,
    task: str | None,
    score: str | None,
    notes: str | None,
    thinking: bool | None,
    forget: bool,
    as_json: bool,
) -> None:
    """Say how well MODEL does TASK here; the choice counts it.

    SCORE is a rating from 1 (useless) to 5 (perfect), or how many items of a test were passed, such as 18/24.
    With MODEL alone: list what was said so far.

    \b
    Example: slmreg rate phi-4-mini code 4 --notes "tests passed at once"
    """
    if forget:
        _forget(model, task, score, as_json=as_json)
    elif task is None:
        _list(model, as_json=as_json)
    elif score is None:
        raise click.UsageError("Give a SCORE: 1 to 5, or items of a test such as 18/24.")
    else:
        said = parse_score(score)
        with open_backend() as backend:
            kept = backend.evaluate(model, task, **said, thinking=thinking, notes=notes or "")
        print_json(kept) if as_json else say(f"{kept['model']} has {_score(kept)} for {kept['task']}.")


def parse_score(text: str) -> dict[str, int]:
    """A rating, or passed and items. Raises click.UsageError."""
    if _RATING.fullmatch(text):
        return {"rating": int(text)}
    if (test := _TEST.fullmatch(text)) and 0 < int(test[2]) >= int(test[1]):
        return {"passed": int(test[1]), "items": int(test[2])}
    raise click.UsageError(f"{text!r} is no score: a rating from 1 to 5, or passed/items such as 18/24.")


def print_evaluations(evaluations: Sequence[Json]) -> None:
    rows = ((each["task"], _score(each), _how(each), each["evaluated_at"][:10], each["notes"]) for each in evaluations)
    print_table(("TASK", "SCORE", "HOW", "SAID", "NOTES"), rows, wrap="NOTES")


def _forget(model: str, task: str | None, score: str | None, *, as_json: bool) -> None:
    if score is not None:
        raise click.UsageError("--forget takes a MODEL and perhaps a TASK, and no SCORE.")
    with open_backend() as backend:
        result = backend.forget_evaluations(model, task)
    for_task = f" for {task}" if task is not None else ""
    if as_json:
        print_json(result)
    else:
        say(f"{result['forgotten']} forgotten of what was said about {result['model']}{for_task}.")


def _list(model: str, *, as_json: bool) -> None:
    with open_backend() as backend:
        found = backend.model(model)
    if as_json:
        print_json(found["evaluations"])
    elif found["evaluations"]:
        print_evaluations(found["evaluations"])
    else:
        say(f"Nobody said anything about {found['id']} yet.")


def _score(evaluation: Json) -> str:
    """ "4 of 5", or "18 of 24 items"."""
    if evaluation["rating"] is not None:
        return f"{evaluation['rating']} of 5"
    return f"{evaluation['passed']} of {evaluation['items']} items"


def _how(evaluation: Json) -> str:
    return {None: "", True: "thinking", False: "not thinking"}[evaluation["thinking"]]


COMMANDS = (rate,)
