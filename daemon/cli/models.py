"""list, scan, roots: which models are here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from daemon.cli.backend import HttpBackend, Json, open_backend, open_local
from daemon.cli.completing import complete_folders, complete_roots, complete_tasks
from daemon.cli.daemon_link import find_daemon
from daemon.cli.output import billions, gigabytes, print_json, print_table, say
from daemon.model_query import EVERY_MODEL, ModelQuery, SortKey
from daemon.paths import home_paths
from registry.model import ExecutionProvider, Source, Status

T = TypeVar("T")

DEMO_HINT = (
    "Only the demo model that ships with slmreg is here: it shows the machinery, nothing more.\n"
    "Add a folder of ONNX Runtime GenAI models with: slmreg roots add PATH"
)


@click.command("list")
@click.option("--task", shell_complete=complete_tasks, help="Only models that can do this task.")
@click.option("--name", metavar="GLOB", help='Only models whose id, name or alias is like that, as "phi-4*".')
@click.option("--source", type=click.Choice([str(source) for source in Source]), help="Only models from there.")
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only models of this status.")
@click.option(
    "--execution-provider", type=click.Choice([str(each) for each in ExecutionProvider]), help="Only models for it."
)
@click.option("--loaded/--no-loaded", default=None, help="Only models that are, or are not, in memory.")
@click.option("--pinned/--no-pinned", default=None, help="Only models that are, or are not, pinned for a task.")
@click.option(
    "--sort",
    type=click.Choice([str(key) for key in SortKey]),
    default=str(SortKey.ID),
    help="A minus is from the largest, or from Z, down.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Not more than so many models.")
@click.option("--all", "is_all", is_flag=True, help="Also models that are missing now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also of missing models.")
def list_models(limit: int | None, is_all: bool, as_json: bool, **wishes: Any) -> None:
    """List the models of this machine.

    Folders that look like models but cannot be used follow, each with what to do about it.

    \b
    Example: slmreg list --task tools --sort -size_bytes --limit 5
    """
    query = _query(**wishes)
    with open_backend() as backend:
        models, problems = backend.models(query), backend.problems()
    if as_json:
        print_json(models[:limit])
        return
    found = [model for model in models if is_all or query.status is not None or model["status"] != "missing"]
    print_table(
        ("ID", "TASKS", "PARAMS", "PRECISION", "DEVICE", "SIZE", "CONTEXT", "SOURCE", "STATUS"),
        (_row(model) for model in found[:limit]),
        right=("PARAMS", "SIZE", "CONTEXT"),
        wrap="TASKS",
    )
    if len(shown := found[:limit]) < len(found):
        say(f"{len(found) - len(shown)} more; --limit leaves them out.")
    if len(found) < len(models):
        say(f"{len(models) - len(found)} missing now; `slmreg list --all` shows them.")
    _tell_about(models, problems, is_everything=replace(query, sort=SortKey.ID) == EVERY_MODEL)


def _query(
    *,
    task: str | None,
    status: str | None,
    execution_provider: str | None,
    source: str | None,
    name: str | None,
    loaded: bool | None,
    pinned: bool | None,
    sort: str,
) -> ModelQuery:
    """Raises SlmregError for a task that there is not."""
    from daemon.wants import parse_task

    return ModelQuery(
        task=parse_task(task) if task is not None else None,
        status=Status(status) if status is not None else None,
        execution_provider=ExecutionProvider(execution_provider) if execution_provider is not None else None,
        source=Source(source) if source is not None else None,
        name=name,
        is_loaded=loaded,
        is_pinned=pinned,
        sort=SortKey(sort),
    )


def _row(model: Json) -> tuple[str, ...]:
    marks = [model["status"]]
    marks += ["loaded"] if model["loaded"] else []
    marks += [f"failed ({model['failure']['kind']})"] if model["failure"] else []
    marks += [f"pinned for {', '.join(model['pinned_for'])}"] if model["pinned_for"] else []
    return (
        model["id"],
        " ".join(model["tasks"]) or "-",
        billions(model["parameters"]),
        model["precision"],
        model["device"],
        gigabytes(model["size_bytes"]),
        str(model["context_tokens"]),
        "demo model" if model["demo"] else model["source"],
        ", ".join(marks),
    )


def _tell_about(models: list[Json], problems: list[Json], *, is_everything: bool) -> None:
    """``is_everything``: ``models`` are all that are known."""
    for model in models:
        if model["failure"]:
            say(f"\n{model['id']} failed: {model['failure']['message']}{_again(model['failure']['retry_s'])}")
    for problem in problems:
        say(f"\n{problem['path']}\n  {problem['code']}: {problem['message']}")
    ready = [model for model in models if model["status"] == "ready"]
    if is_everything and ready and all(model["demo"] for model in ready):
        say(f"\n{DEMO_HINT}")


def _again(retry_s: float | None) -> str:
    return f" It is tried again in {retry_s:.0f} s." if retry_s else " The next request tries again."


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scan(as_json: bool) -> None:
    """Look through all roots again.

    The index is brought up to date; a running daemon does this by itself.

    \b
    Example: slmreg scan --json
    """
    with open_backend(is_fresh=False) as backend:
        changes = backend.scan()
    if as_json:
        print_json(changes)
    else:
        _print_changes(changes)


def _print_changes(changes: Json) -> None:
    for kind, ids in changes["ids"].items():
        for model_id in ids:
            click.echo(f"{kind:8} {model_id}")
    click.echo(
        f"{changes['added']} added, {changes['updated']} updated, {changes['missing']} missing, "
        f"{changes['unchanged']} unchanged, {len(changes['problems'])} problems in {changes['seconds']:.2f} s"
    )
    for problem in changes["problems"]:
        say(f"\n{problem['path']}\n  {problem['code']}: {problem['message']}")


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def roots(ctx: click.Context, as_json: bool) -> None:
    """Say where to look for models.

    Without a subcommand: list the folders that are searched.

    \b
    Example: slmreg roots add ~/models
    """
    if ctx.invoked_subcommand is None:
        _list_roots(as_json)


@roots.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_roots(as_json: bool) -> None:
    """List the folders that are searched, with what was found under each.

    \b
    Example: slmreg roots list
    """
    _list_roots(as_json)


def _list_roots(as_json: bool) -> None:
    with open_backend() as backend:
        found = backend.roots()
    if as_json:
        print_json(found)
        return
    print_table(
        ("PATH", "SOURCE", "MODELS", "PROBLEMS", "SEARCHED"),
        ((r["path"], r["source"], str(r["models"]), str(r["problems"]), _how_searched(r)) for r in found),
        right=("MODELS", "PROBLEMS"),
    )


def _how_searched(root: Json) -> str:
    """Whether, and where a daemon runs also how: "yes, polling: it is on a network file system"."""
    if not root["enabled"]:
        return "no, switched off"
    if not root["exists"]:
        return "not there now"
    words = ["yes"]
    if (watched := root["watched"]) is not None:
        words.append("watched" if watched["method"] == "native" else watched["method"])
    if root["settle_s"] is not None:
        words.append(f"settles in {root['settle_s']:g} s")
    reason = watched["reason"] if watched is not None else None
    return ", ".join(words) + (f": {reason}" if reason else "")


def _folder(_: click.Context, __: click.Parameter, value: str) -> Path:
    """An empty path, often a shell variable that is not set, would be the current folder."""
    if not value.strip():
        raise click.BadParameter("it is empty.")
    return Path(value)


@roots.command("add")
@click.argument("path", callback=_folder, shell_complete=complete_folders)
@click.option("--settle-s", type=click.FloatRange(0.05, 3600), help="A new folder in it counts once still for so long.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def add_root(path: Path, settle_s: float | None, as_json: bool) -> None:
    """Search PATH for models from now on.

    Files are used in place, never copied. A root that was switched off is searched again.

    \b
    Example: slmreg roots add ~/models
    """
    _result, changes = _change_roots(lambda admin: admin.add_root(_absolute(path), settle_s=settle_s))
    if as_json:
        print_json(changes)
    else:
        say(f"{path} is searched from now on.")
        _print_changes(changes)


@roots.command("remove")
@click.argument("path", callback=_folder, shell_complete=complete_roots)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove_root(path: Path, as_json: bool) -> None:
    """Stop searching PATH. Its files stay where they are.

    A root that slmreg found by itself, like a Foundry cache, is switched off; `slmreg roots add` switches it on again.

    \b
    Example: slmreg roots remove ~/models
    """
    result, _changes = _change_roots(lambda admin: admin.remove_root(_absolute(path)))
    if as_json:
        print_json(result)
    else:
        say(f"{path} is {'switched off' if result['switched_off'] else 'not searched any more'}.")


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())


def _change_roots(change: Callable[[Any], T]) -> tuple[T, Json]:
    """Change the registry itself, never through HTTP: the API takes no paths. Then whoever is there looks at the disk.

    A daemon does that itself, so that those who follow its events hear what changes.
    """
    with open_local(is_fresh=False) as admin:
        result = change(admin)
        running = find_daemon(home_paths().run_file)
        if running is None:
            return result, admin.scan()
    with HttpBackend(running) as daemon:
        return result, daemon.scan()


COMMANDS = (list_models, scan, roots)
