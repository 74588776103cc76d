"""show: everything about one model, and how far its predictions were from what was measured here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from daemon.cli.backend import Json, open_backend
from daemon.cli.completing import complete_models
from daemon.cli.output import billions, gigabytes, print_json, print_table
from daemon.cli.rate import print_evaluations

# What is told in a part of its own.
_APART = frozenset({"problems", "evidence", "measured", "predicted", "evaluations", "override", "tuned"})


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(model: str, as_json: bool) -> None:
    """Show all that is known about MODEL.

    MODEL is an id, a name or an alias. What was predicted stands beside what was measured here, and how far off it was.

    \b
    Example: slmreg show phi-4-mini
    """
    with open_backend() as backend:
        found = backend.model(model)
    if as_json:
        print_json(found)
        return
    lines = [
        (key, as_text(key, value))
        for key, value in found.items()
        if key not in _APART and value not in (None, "", [], {})
    ]
    if found["tuned"] is not None:
        lines.append(("tuned", tuned_text(found["tuned"])))
    lines += [("problem", f"{p['code']}: {p['message']}") for p in found["problems"]]
    if found["override"] is not None:
        lines.append(("settings", _override(found["override"])))
    lines += [("guessed", f"{name}: {how}") for name, how in found["evidence"].items()]
    print_table(("FIELD", "VALUE"), lines, wrap="VALUE")
    click.echo()
    columns = ("HERE", "PREDICTED", "MEASURED", "OFF BY")
    print_table(columns, comparison_rows(found["predicted"], found["measured"]), right=columns[1:])
    click.echo(f"{_basis(found['measured'])}; {found['predicted']['source']}")
    if found["evaluations"]:
        click.echo()
        print_evaluations(found["evaluations"])


def _override(override: Json) -> str:
    """As it stands in ``config.toml``, in one line."""
    said = ", ".join(f"{key} = {value:g}" for key, value in override.items() if key != "pattern")
    return f'[models."{override["pattern"]}"] {said}'


def as_text(key: str, value: Any) -> str:
    """As people read it: sizes with units, yes and no, the texts around a tool call as they stand in an answer."""
    if key.endswith("bytes") or key == "kv_bytes_per_token":
        return gigabytes(value)
    if key in ("parameters", "active_parameters"):
        return billions(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return f"{value['start']} ... {value['end']}"
    return ("\n" if key == "locations" else " ").join(map(str, value)) if isinstance(value, list) else str(value)


def tuned_text(tuned: Json) -> str:
    """What `slmreg tune` found, and where that comes from."""
    parts = [f"{tuned['threads']} threads"]
    if tuned["max_concurrent"] is not None:
        parts.append(f"{tuned['max_concurrent']} requests at once")
    if tuned["prefill_chunk_tokens"] is not None:
        parts.append(f"{tuned['prefill_chunk_tokens']} prompt tokens a step")
    return f"{', '.join(parts)} (measured {tuned['tuned_at']} on {tuned['machine']} with {tuned['runtime']})"


def comparison_rows(predicted: Json, measured: Json) -> Iterator[tuple[str, ...]]:
    """Predictions that knew nothing of what was measured; how far off is what was measured beyond them, in percent."""
    context, prompt = predicted["context_tokens"], predicted["prompt_tokens"]
    rows: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("memory after loading", "resident_bytes", gigabytes),
        (f"most memory, {context} tokens if full", "peak_bytes", gigabytes),
        ("load time", "load_s", _seconds),
        (f"first token of an answer to {prompt}", "ttft_s", _seconds),
        ("prompt tokens/s", "prompt_tokens_per_second", _rate),
        ("tokens/s", "tokens_per_second", _rate),
    )
    for name, key, shown in rows:
        expected, found = predicted.get(key), measured.get(key)
        if expected is not None or found is not None:
            # Until a session was full once, it has held less than what it may need.
            is_within = key == "peak_bytes" and expected is not None and found is not None and found <= expected
            off_by = "within" if is_within else _off_by(expected, found)
            yield name, _or_dash(expected, shown), _or_dash(found, shown), off_by


def _basis(measured: Json) -> str:
    """How much was measured: "measured in 2 loads and 31 answers with 2 threads"."""
    if not measured:
        return "nothing was measured here yet"
    loads, answers = measured["loads"], measured["answers"]
    return (
        f"measured in {loads} load{'' if loads == 1 else 's'} and {answers} answer{'' if answers == 1 else 's'} "
        f"with {measured['threads']} thread{'' if measured['threads'] == 1 else 's'}"
    )


def _off_by(expected: float | None, found: float | None) -> str:
    if not expected or found is None:
        return ""
    return f"{100 * (found / expected - 1):+.0f}%"


def _or_dash(value: Any, shown: Callable[[Any], str]) -> str:
    return "-" if value is None else shown(value)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}"


COMMANDS = (show,)
