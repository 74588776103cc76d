"""list, show, scan, roots: which models are here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from daemon.cli.backend import HttpBackend, Json, home_paths, open_backend, open_local
from daemon.cli.daemon_link import find_daemon
from daemon.cli.output import billions, gigabytes, print_json, print_table, say

DEMO_HINT = (
    "Only the demo model that ships with slmreg is here: it shows the machinery, nothing more.\n"
    "Add a folder of ONNX Runtime GenAI models with: slmreg roots add PATH"
)


@click.command("list")
@click.option("--task", help="Only models that can do this task.")
@click.option("--all", "is_all", is_flag=True, help="Also models that are missing now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, always of all models.")
def list_models(task: str | None, is_all: bool, as_json: bool) -> None:
    """List the models of this machine.

    Folders that look like models but cannot be used follow, each with what to do about it.

    \b
    Example: slmreg list --task tools
    """
    with open_backend() as backend:
        models, problems = backend.models(), backend.problems()
    if task is not None:
        from daemon.catalog import parse_task

        wanted = str(parse_task(task))
        models = [model for model in models if wanted in model["tasks"]]
    if as_json:
        print_json(models)
        return
    shown = [model for model in models if is_all or model["status"] != "missing"]
    print_table(
        ("ID", "TASKS", "PARAMS", "PRECISION", "DEVICE", "SIZE", "CONTEXT", "SOURCE", "STATUS"),
        (_row(model) for model in shown),
        right=("PARAMS", "SIZE", "CONTEXT"),
        wrap="TASKS",
    )
    if len(shown) < len(models):
        say(f"{len(models) - len(shown)} missing now; `slmreg list --all` shows them.")
    _tell_about(models, problems)


def _row(model: Json) -> tuple[str, ...]:
    marks = [model["status"]]
    marks += ["loaded"] if model["loaded"] else []
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


def _tell_about(models: list[Json], problems: list[Json]) -> None:
    for problem in problems:
        say(f"\n{problem['path']}\n  {problem['code']}: {problem['message']}")
    ready = [model for model in models if model["status"] == "ready"]
    if ready and all(model["demo"] for model in ready):
        say(f"\n{DEMO_HINT}")


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(model: str, as_json: bool) -> None:
    """Show all that is known about MODEL.

    MODEL is an id, a name or an alias.

    \b
    Example: slmreg show phi-4-mini
    """
    with open_backend() as backend:
        found = backend.model(model)
    if as_json:
        print_json(found)
        return
    sizes = {"size_bytes", "weight_bytes", "kv_bytes_per_token"}
    lines = [
        (key, gigabytes(value) if key in sizes else _as_text(value))
        for key, value in found.items()
        if key not in ("problems", "evidence", "measured") and value not in (None, [], {})
    ]
    lines += [("problem", f"{p['code']}: {p['message']}") for p in found["problems"]]
    lines += [("guessed", f"{name}: {how}") for name, how in found["evidence"].items()]
    print_table(("FIELD", "VALUE"), lines, wrap="VALUE")


def _as_text(value: Any) -> str:
    return " ".join(str(item) for item in value) if isinstance(value, list) else str(value)


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
        ("PATH", "SOURCE", "MODELS", "PROBLEMS", ""),
        (
            (r["path"], r["source"], str(r["models"]), str(r["problems"]), "" if r["exists"] else "not there now")
            for r in found
        ),
        right=("MODELS", "PROBLEMS"),
    )


def _folder(_: click.Context, __: click.Parameter, value: str) -> Path:
    """An empty path, often a shell variable that is not set, would be the current folder."""
    if not value.strip():
        raise click.BadParameter("it is empty.")
    return Path(value)


@roots.command("add")
@click.argument("path", callback=_folder)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def add_root(path: Path, as_json: bool) -> None:
    """Search PATH for models from now on. Files are used in place, never copied.

    \b
    Example: slmreg roots add ~/models
    """
    changes = _change_roots(lambda admin: admin.add_root(str(path.expanduser().absolute())))
    if as_json:
        print_json(changes)
    else:
        say(f"{path} is searched from now on.")
        _print_changes(changes)


@roots.command("remove")
@click.argument("path", callback=_folder)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove_root(path: Path, as_json: bool) -> None:
    """Stop searching PATH. Its files stay where they are.

    \b
    Example: slmreg roots remove ~/models
    """
    _change_roots(lambda admin: admin.remove_root(str(path.expanduser().absolute())))
    print_json({"removed": str(path)}) if as_json else say(f"{path} is not searched any more.")


def _change_roots(change: Any) -> Any:
    """Change the registry itself, never through HTTP: the API takes no paths. A running daemon is told to look."""
    with open_local(is_fresh=False) as admin:
        result = change(admin)
    running = find_daemon(home_paths().run_file)
    if running is not None:
        with HttpBackend(running.url) as daemon:
            daemon.scan()
    return result


COMMANDS = (list_models, show, scan, roots)
