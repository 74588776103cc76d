"""logs: what the daemon has logged, also while it does not run; and how much it logs."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime

import click

from daemon.cli.backend import HttpBackend
from daemon.cli.daemon_link import require_daemon
from daemon.cli.output import print_json, print_table, say
from daemon.logs.console import Console
from daemon.logs.line import LEVELS, Line, as_json
from daemon.logs.reading import LogReader, Wanted
from daemon.paths import home_paths
from registry.errors import SettingsError

_UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|min|m|h|d)")


def moment(text: str) -> float:
    """Unix time of so long ago, or of a time in ISO 8601 (in this machine's zone if it names none).

    Raises BadParameter.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return time.time() - float(ago[1]) * _UNITS_S[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(f"{text!r} is no time. Write 10m, 2h, 3d, or 2026-01-31T08:00.") from error


def _moment(_ctx: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    return moment(text) if text is not None else None


def _level_changes(_ctx: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, str | None]:
    """By module; None undoes a change."""
    changes: dict[str, str | None] = {}
    for each in given:
        module, _, level = each.partition("=")
        if not module or level not in (*LEVELS[:-1], "default"):
            raise click.BadParameter(f"{each!r} is not usable. Write it as slmreg.pool=debug; default undoes it.")
        changes[module] = None if level == "default" else level
    return changes


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", "most", type=click.IntRange(0), default=100, show_default=True, help="The last N lines.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Only lines that are at least so severe.")
@click.option(
    "--since", metavar="WHEN", callback=_moment, help="Only lines since then: 10m, 2h, 3d, or a time in ISO 8601."
)
@click.option("--request", "request_id", metavar="ID", help="Only what was logged for the request with this id.")
@click.option("--json", "as_lines", is_flag=True, help="Print JSON, one object a line.")
@click.option(
    "--set-level",
    "changes",
    metavar="MODULE=LEVEL",
    callback=_level_changes,
    multiple=True,
    help="From now on log so much of a part of the running daemon, as slmreg.pool=debug; default undoes it.",
)
def logs(
    follow: bool,
    most: int,
    level: str,
    since: float | None,
    request_id: str | None,
    as_lines: bool,
    changes: dict[str, str | None],
) -> None:
    """Show what the daemon has logged, also after it has ended.

    \b
    Example: slmreg logs -f --level warning
             slmreg logs --since 10m --request 3f2a
             slmreg logs --set-level slmreg.pool=debug
    """
    if changes:
        _change_levels(changes, as_json=as_lines)
        return
    path = home_paths().log
    console = Console.of(sys.stdout, {**os.environ, "JOURNAL_STREAM": ""})
    wanted = Wanted(level, since, request_id)
    try:
        with LogReader(path) as reader:
            last = reader.last(wanted, most)
            for line in last:
                _print(line, console, as_lines=as_lines)
            if follow:
                for line in reader.follow(wanted):
                    _print(line, console, as_lines=as_lines)
    except KeyboardInterrupt:
        if not follow:
            raise
        return  # it is how following ends
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise SettingsError(f"{error.filename or path} cannot be read: {error.strerror}.") from error
    if not last:
        say(f"There is no such line in {path}.")


def _print(line: Line, console: Console, *, as_lines: bool) -> None:
    click.echo(as_json(line) if as_lines else console.render(line), nl=as_lines)


def _change_levels(levels: dict[str, str | None], *, as_json: bool) -> None:
    with HttpBackend(require_daemon(home_paths().run_file)) as daemon:
        now = daemon.change_log_levels(levels)
    if as_json:
        print_json(now)
        return
    print_table(("LOGGER", "LEVEL"), sorted(now.items()))


COMMANDS = (logs,)
