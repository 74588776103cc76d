"""allow: let a model run the native code that came with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from daemon.cli.completing import complete_models
from daemon.cli.local import let_daemon_look, open_registry
from daemon.cli.output import gigabytes, print_json, say

if TYPE_CHECKING:
    from daemon.allowing import Library


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--undo", is_flag=True, help="Do not let it run any more.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def allow(model: str, undo: bool, is_sure: bool, as_json: bool) -> None:
    """Let MODEL run its library of custom operators.

    Such a library is native code that came with the model and can do whatever you can do, so models with one are
    blocked until you allow it. Allowed is this one file by its content: if it changes, the model is blocked again.

    \b
    Example: slmreg allow my-model:1
    """
    from daemon.allowing import library_of

    with open_registry() as local:
        library = library_of(local.registry, local.catalog.get(model))
        if undo:
            local.registry.disallow_library(library.sha256)
        elif not library.is_allowed:
            _warn(library)
            if not is_sure:
                click.confirm("Let it run?", abort=True, err=True)
            local.registry.allow_library(library.sha256, model_id=library.model_id)
        local.catalog.scan()
        status = local.catalog.get(library.model_id).status
    let_daemon_look()
    if as_json:
        facts = {"model": library.model_id, "library": str(library.path), "sha256": library.sha256}
        print_json({**facts, "allowed": not undo, "status": str(status)})
    else:
        say(f"{library.path.name} {'may not run any more' if undo else 'may run'}: {library.model_id} is {status}.")


def _warn(library: Library) -> None:
    say(f"{library.model_id} wants to run native code that came with it:")
    say(f"  file     {library.path} ({gigabytes(library.size_bytes)})")
    say(f"  SHA-256  {library.sha256}")
    say("It would run with all your rights. Nobody has checked it: allow it only if you trust who made the model.")


COMMANDS = (allow,)
