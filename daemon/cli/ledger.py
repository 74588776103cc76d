"""A selection as a person reads it: who competed, with every term, who was turned away, and what would change it.

``selection`` is the contract's JSON everywhere, from a daemon or from the registry itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from daemon.cli.output import gigabytes, print_table

Json = dict[str, Any]


def print_ledger(selection: Json) -> None:
    """Everything that led to the answer; the chosen one has a star."""
    ranking = selection["ranking"]
    if ranking:
        columns = ranking_columns(ranking)
        print_table(columns, (ranking_row(candidate, selection, columns) for candidate in ranking), right=columns[2:])
        _print_evidence(selection)
    print_rejected(selection["rejected"], before="\n" if ranking else "")
    if selection["would_change"]:
        click.echo("\nWhat would change it:")
        for change in selection["would_change"]:
            click.echo(f"  {change['what']}: {change['chosen']}")


def print_rejected(rejected: Sequence[Json], *, before: str = "") -> None:
    """Each with its reason and its numbers; nothing where nothing was turned away."""
    if rejected:
        click.echo(before, nl=False)
        rows = ((name_of(each), each["code"], each["message"]) for each in rejected)
        print_table(("REJECTED", "BECAUSE", ""), rows, wrap="")


def name_of(told: Json) -> str:
    """The id, and the way of answering of a model that has two."""
    how = {None: "", True: " (thinking)", False: " (not thinking)"}[told.get("thinking")]
    return f"{told['id']}{how}"


def ranking_columns(ranking: Sequence[Json]) -> tuple[str, ...]:
    """A term that is 0 for everybody tells nothing, and has no column."""
    terms = [term.upper() for term in terms_of(ranking)]
    ahead = ("DIFFERENCE",) if any(candidate["difference"] for candidate in ranking) else ()
    return ("", "MODEL", "UTILITY", *ahead, *terms, "NEEDS", "CONTEXT", "TOK/S", "TTFT", "ANSWER")


def terms_of(ranking: Iterable[Json]) -> list[str]:
    """The names of the terms that anybody has points in, in their order."""
    return list(dict.fromkeys(term for candidate in ranking for term, points in candidate["terms"].items() if points))


def ranking_row(candidate: Json, selection: Json, columns: Sequence[str]) -> tuple[str, ...]:
    is_chosen = (candidate["id"], candidate["thinking"]) == (selection["chosen"], selection["thinking"])
    difference = candidate["difference"]
    cells = {
        "": "*" if is_chosen else "",
        "MODEL": name_of(candidate),
        "UTILITY": f"{candidate['utility']:.1f}",
        "DIFFERENCE": "" if is_chosen or difference is None else f"{difference:+.1f}",
        "NEEDS": gigabytes(candidate["need_bytes"]),
        "CONTEXT": str(candidate["context_tokens"]),
        "TOK/S": f"{candidate['tokens_per_second']:.1f}",
        "TTFT": f"{candidate['ttft_s']:.2f} s",
        "ANSWER": f"{candidate['answer_s']:.1f} s",
    }
    points = {term.upper(): f"{value:+.1f}" for term, value in candidate["terms"].items()}
    return tuple(cells[name] if name in cells else points.get(name, "+0.0") for name in columns)


def _print_evidence(selection: Json) -> None:
    """What the numbers of the chosen one rest on."""
    chosen = (selection["chosen"], selection["thinking"])
    found = next((each for each in selection["ranking"] if (each["id"], each["thinking"]) == chosen), None)
    if found is not None and found["evidence"]:
        click.echo(f"\n{name_of(found)} rests on")
        print_table(("", " "), ((f"  {name}", source) for name, source in found["evidence"].items()), wrap=" ")
