"""verify: read every byte of the models, and say which are damaged."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.completing import complete_models
from daemon.cli.local import Local, let_daemon_look, open_registry
from daemon.cli.output import gigabytes, print_json, print_table, say
from registry.errors import ModelNotFound, ModelNotUsable
from registry.model import Model, Status, Verification

if TYPE_CHECKING:
    from registry.verify import Progress

_Report = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class _Result:
    """``verification`` is None where the model could not be checked, for which ``reason`` says why."""

    model: Model
    verification: Verification | None
    reason: str | None = None

    @property
    def is_fine(self) -> bool:
        return self.verification is not None and not self.verification.problems


@click.command()
@click.argument("model", required=False, shell_complete=complete_models)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the SHA-256 of every file.")
@click.pass_context
def verify(ctx: click.Context, model: str | None, as_json: bool) -> None:
    """Read every byte of MODEL, or of all models, and say what is damaged.

    Compared with the last check, with what was published (Hugging Face caches), and with what the files themselves
    say. A damaged model is not used until it is whole again. Takes seconds per gigabyte, at low priority; what Ctrl-C
    leaves unchecked is checked next time. Exit code 1 if a model is damaged or could not be checked.

    \b
    Example: slmreg verify phi-4-mini
    """
    from selector.hardware.priority import step_back

    results: list[_Result] = []
    with open_registry() as local:
        models = _wanted(local, model)
        step_back()  # for the reading alone: on a busy machine even the start would take minutes after that
        is_stopped = _check_all(local, models, results)
    if any(not result.is_fine for result in results):
        let_daemon_look()
    _print(results, as_json)
    if is_stopped:
        say(f"Stopped: {len(results)} of {len(models)} models are checked, and that is kept.")
    if is_stopped or not all(result.is_fine for result in results):
        ctx.exit(1)


def _wanted(local: Local, reference: str | None) -> Sequence[Model]:
    if reference is not None:
        return (local.catalog.get(reference),)
    there = (Status.READY, Status.INVALID)  # what an earlier check found damaged may be whole by now
    return [model for model in local.catalog.models(include_missing=False) if model.status in there]


def _check_all(local: Local, models: Sequence[Model], results: list[_Result]) -> bool:
    """Add to ``results`` as far as it gets; True if somebody stopped it."""
    try:
        with _progress_bar(sum(model.size_bytes for model in models)) as bar_for:
            for model in models:
                results.append(_check(local, model, bar_for(model)))
    except KeyboardInterrupt:
        return True
    return False


def _check(local: Local, model: Model, report: _Report) -> _Result:
    from registry.verify import verify

    try:
        verification = verify(model, known=local.registry.verification(model.id), progress=report)
        local.registry.record_verification(model.id, verification)
    except (ModelNotUsable, ModelNotFound) as error:  # it changes, or is gone meanwhile
        return _Result(model, None, error.message)
    return _Result(model, verification)


@contextlib.contextmanager
def _progress_bar(total_bytes: int) -> Iterator[Callable[[Model], _Report]]:
    """On standard error, if that is a terminal; gives for each model the function that is told of its progress."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    name = TextColumn("{task.fields[file]}", markup=False, table_column=Column(ratio=1, no_wrap=True))
    columns = (name, BarColumn(bar_width=20), DownloadColumn(), TimeRemainingColumn(compact=True))
    console = Console(stderr=True)
    with Bar(*columns, console=console, expand=True, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total_bytes, file="")

        def bar_for(model: Model) -> _Report:
            start_bytes = bar.tasks[0].completed

            def report(progress: Progress) -> None:
                bar.update(task, completed=start_bytes + progress.done_bytes, file=f"{model.id} {progress.file}")

            return report

        yield bar_for


def _print(results: Sequence[_Result], as_json: bool) -> None:
    if as_json:
        print_json([_as_json(result) for result in results])
        return
    print_table(
        ("MODEL", "RESULT", "FILES", "SIZE"),
        (
            (
                result.model.id,
                "ok" if result.is_fine else "damaged" if result.verification is not None else "not checked",
                str(len(result.verification.digests)) if result.verification is not None else "-",
                gigabytes(result.model.size_bytes),
            )
            for result in results
        ),
        right=("FILES", "SIZE"),
    )
    for result in results:
        problems = result.verification.problems if result.verification is not None else ()
        for message in [result.reason] if result.reason else [problem.message for problem in problems]:
            say(f"\n{result.model.id} in {result.model.path}\n  {message}")


def _as_json(result: _Result) -> dict[str, Any]:
    made = result.verification
    return {
        "id": result.model.id,
        "path": str(result.model.path),
        "ok": result.is_fine,
        "verified_at": datetime.fromtimestamp(made.verified_s, UTC).isoformat(timespec="seconds") if made else None,
        "size_bytes": result.model.size_bytes,
        "problems": [{"code": p.code, "message": p.message, "file": p.file} for p in made.problems] if made else [],
        "reason": result.reason,
        "digests": dict(made.digests) if made else {},
    }


COMMANDS = (verify,)
