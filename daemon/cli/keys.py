"""key create, list, revoke: who may use the daemon. In the registry itself: no request can make or take a key."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.completing import complete_keys
from daemon.cli.local import let_daemon_look
from daemon.cli.output import print_json, print_table, say
from daemon.paths import home_paths
from daemon.shapes import iso_time
from registry.errors import InvalidRequest
from registry.model import ApiKey, KeyScope

if TYPE_CHECKING:
    from registry.store import Registry

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def key(ctx: click.Context, as_json: bool) -> None:
    """Say who may use the daemon.

    Without keys whoever can reach it can: every program of this machine. As soon as there is one, every request needs
    one, as "Authorization: Bearer KEY" or "x-api-key: KEY". These commands always work for the owner of this home.

    \b
    Example: slmreg key list
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


@key.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice([str(scope) for scope in KeyScope]),
    default=str(KeyScope.USE),
    show_default=True,
    help="use: ask and read; admin: also load, pin, scan and whatever else changes something.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(name: str, scope: str, as_json: bool) -> None:
    """Make a key, and print it: this once, because only its hash is kept.

    \b
    Example: slmreg key create laptop --scope admin
    """
    from daemon.access import digest_of, new_key

    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot be the name of a key: use up to 64 letters, digits, and ._- between.")
    secret = new_key()
    made = ApiKey(name, KeyScope(scope), digest_of(secret), time.time())
    with _registry() as registry:
        is_first = not registry.api_keys()
        registry.add_key(made)
    let_daemon_look()
    if as_json:
        print_json({**_as_json(made), "key": secret})
        return
    click.echo(secret)
    say(f"This is the only time that the key {name} is shown.")
    if is_first:
        say("It is the first: from now on every request needs one.")


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(as_json: bool) -> None:
    """List the keys: their names and what they are for.

    \b
    Example: slmreg key list
    """
    _list(as_json)


@key.command()
@click.argument("name", shell_complete=complete_keys)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def revoke(name: str, as_json: bool) -> None:
    """Let nobody in with this key any more.

    \b
    Example: slmreg key revoke laptop
    """
    with _registry() as registry:
        registry.remove_key(name)
        is_last = not registry.api_keys()
    let_daemon_look()
    if as_json:
        print_json({"revoked": name})
        return
    say(f"The key {name} is revoked.")
    if is_last:
        say("It was the last: without require_key, whoever can reach the daemon on this machine can use it now.")


def _list(as_json: bool) -> None:
    with _registry() as registry:
        keys = [_as_json(each) for each in registry.api_keys()]
    if as_json:
        print_json(keys)
        return
    print_table(("NAME", "SCOPE", "CREATED"), [(each["name"], each["scope"], each["created_at"]) for each in keys])
    if not keys:
        say("There is no key: whoever can reach the daemon can use it.")


@contextlib.contextmanager
def _registry() -> Iterator[Registry]:
    from registry.store import Registry

    with Registry.open(home_paths().database) as registry:
        yield registry


def _as_json(each: ApiKey) -> dict[str, Any]:
    return {"name": each.name, "scope": str(each.scope), "created_at": iso_time(each.created_s)}


COMMANDS = (key,)
