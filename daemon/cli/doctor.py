"""doctor: what is right with this installation, what is not, and what to do about it."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.backend import HttpBackend
from daemon.cli.daemon_link import find_daemon
from daemon.cli.local import Local, open_registry
from daemon.cli.output import print_json, say
from daemon.paths import home_paths
from registry.errors import SlmregError

if TYPE_CHECKING:
    from daemon.doctor.bundle import Known, Person, Report
    from daemon.doctor.examination import Installation
    from daemon.doctor.finding import Finding

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}
_SHOWN_ITEMS = 5


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every item.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a zip for a bug report: no names, paths, keys or prompts in it.",
)
@click.option("--with-names", is_flag=True, help="Leave the names of models in the bundle.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, bundle: Path | None, with_names: bool) -> None:
    """Sum up what is right here, what is not or is slow, and what to do about it.

    Looks at versions, settings, the machine, disks, files, the registry, roots, models that cannot be used, pins, the
    daemon and its port. Repairs nothing. Exit code 1 if somebody has to do something.

    \b
    Example: slmreg doctor --bundle report.zip
    """
    with contextlib.ExitStack() as stack:
        ill = _installation()
        opened: list[Local] = []
        findings = tuple(_examine(ill, stack, opened))
        if bundle is not None:
            _bundle(bundle, ill, opened, findings, with_names=with_names)
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        print_json(_as_json(findings))
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


def _installation() -> Installation:
    from daemon.doctor.examination import Installation
    from daemon.machine import Machine

    paths = home_paths()
    running = None
    with contextlib.suppress(SlmregError):  # one that does not answer is as good as none
        running = _daemon_status()
    return Installation(paths, Machine(paths.hardware_cache), running)


def _daemon_status() -> dict[str, Any] | None:
    running = find_daemon(home_paths().run_file)
    if running is None:
        return None
    with HttpBackend(running) as backend:
        return {**backend.status(), "url": running.url}


def _examine(ill: Installation, stack: contextlib.ExitStack, opened: list[Local]) -> Iterator[Finding]:
    """The registry, once it could be opened, is in ``opened``, and closed with ``stack``."""
    from daemon.doctor.checks import Check, carry_out
    from daemon.doctor.examination import inside_checks, outside_checks

    def open_it() -> tuple[()]:
        opened.append(stack.enter_context(open_registry(ill.machine, is_fresh=False)))
        return ()

    def scan() -> tuple[()]:
        if ill.daemon is None:
            opened[0].catalog.scan()
        return ()

    yield from carry_out(outside_checks(ill))
    for problem in carry_out([Check("registry", open_it)]):
        if problem.subject != "invalid_settings":  # which was told
            yield problem
    if opened:
        yield from carry_out([Check("scan", scan)])
        yield from carry_out(inside_checks(ill, opened[0].registry, opened[0].catalog))


def _bundle(
    file: Path, ill: Installation, opened: Sequence[Local], findings: Sequence[Finding], *, with_names: bool
) -> None:
    from daemon.doctor.bundle import private_names, write_bundle
    from daemon.doctor.private import Scrubber

    scrubber = Scrubber(private_names(_person(ill), _known(opened), with_models=with_names))
    write_bundle(file, _report(ill, opened, findings), scrubber, with_models=with_names)
    say(f"{file} is written: look through it before you send it.\n")


def _report(ill: Installation, opened: Sequence[Local], findings: Sequence[Finding]) -> Report:
    from daemon import __version__
    from daemon.doctor.bundle import Report, last_lines
    from daemon.versions import all_versions
    from selector.explain import hardware_as_json

    return Report(
        doctor=_as_json(findings),
        versions={"slmreg": __version__, "python": platform.python_version(), "system": _system(), **all_versions()},
        hardware=hardware_as_json(ill.machine.hardware()),
        settings=opened[0].settings if opened else None,
        log=last_lines(ill.paths.log.parent.glob(f"{ill.paths.log.stem}*")),
    )


def _system() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def _person(ill: Installation) -> Person:
    from daemon.doctor.bundle import Person

    paths = ill.paths
    folders = {
        "configuration": paths.config.parent,
        "cache": paths.hardware_cache.parent,
        "run": paths.run_file.parent,
        "data": paths.database.parent,
    }
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that has no name
        user = ""
    return Person(user, platform.node(), Path(os.path.expanduser("~")), folders)  # noqa: PTH111 - never fails


def _known(opened: Sequence[Local]) -> Known:
    from daemon.doctor.bundle import Known

    if not opened:
        return Known()
    catalog, registry = opened[0].catalog, opened[0].registry
    return Known(
        models=catalog.models(),
        problems=catalog.problems(),
        roots=catalog.roots(),
        pins=catalog.pins(),
        presets=registry.presets(),
        hints=registry.hints(),
        keys=registry.api_keys(),
    )


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


def _as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "ok": all(finding.level != "problem" for finding in findings),
        "findings": [
            {
                "level": str(finding.level),
                "subject": finding.subject,
                "message": finding.message,
                "advice": finding.advice,
                "items": list(finding.items),
            }
            for finding in findings
        ],
    }


COMMANDS = (doctor,)
