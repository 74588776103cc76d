"""doctor: what is right with this installation, what is not, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.backend import HttpBackend, home_paths
from daemon.cli.daemon_link import find_daemon
from daemon.cli.local import open_registry
from daemon.cli.output import print_json, say
from registry.errors import SlmregError

if TYPE_CHECKING:
    from daemon.findings import Finding

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}
_SHOWN_ITEMS = 5


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every item.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Sum up what is right here, what is not, and what to do about it.

    Looks at the registry's files, the roots, folders that cannot be used, missing models, pins, copies, free space,
    versions and the daemon. Repairs nothing. Exit code 1 if somebody has to do something.

    \b
    Example: slmreg doctor
    """
    findings = tuple(_examine())
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        print_json({"ok": problems == 0, "findings": [_as_json(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
        say(f"\n{_summary(problems)}")
    if problems:
        ctx.exit(1)


def _summary(problems: int) -> str:
    if not problems:
        return "Nothing has to be done."
    return "1 problem." if problems == 1 else f"{problems} problems."


def _examine() -> Iterator[Finding]:
    from daemon.doctor import examine, examine_outside
    from daemon.findings import Finding, Level

    database = home_paths().database
    try:
        status = _daemon_status()
        yield from examine_outside(database, status)
        with open_registry() as local:
            yield from examine(local.registry, local.catalog, database, status)
    except SlmregError as error:  # a setting or a registry that nobody can work with: nothing more can be said
        yield Finding(Level.PROBLEM, error.code, error.message)


def _daemon_status() -> dict[str, Any] | None:
    running = find_daemon(home_paths().run_file)
    if running is None:
        return None
    with HttpBackend(running) as backend:
        return {**backend.status(), "url": running.url}


def _print(finding: Finding) -> None:
    sign = click.style(f"{finding.level:<8}", fg=_COLOURS[finding.level], bold=finding.level == "problem")
    click.echo(f"{sign}{finding.subject}: {finding.message}")
    shown = finding.items[:_SHOWN_ITEMS]
    for item in shown:
        click.echo(f"          {item}")
    if len(finding.items) > len(shown):
        click.echo(f"          and {len(finding.items) - len(shown)} more (--json has all)")
    if finding.advice is not None:
        click.echo(f"        > {finding.advice}")


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "level": str(finding.level),
        "subject": finding.subject,
        "message": finding.message,
        "advice": finding.advice,
        "items": list(finding.items),
    }


COMMANDS = (doctor,)
