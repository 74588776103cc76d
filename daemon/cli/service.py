"""service install, uninstall, start, stop, restart, status, logs, print: slmreg started by the system."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from daemon.cli.output import print_json, say
from daemon.cli.service_work import ServiceWork, as_text
from registry.errors import NoServiceSystem

# What slmreg writes into its folders. Models are never among it, not even where they lie in the same folder.
OWN_FILES = (
    "registry.db*",
    "registry.json*",
    "responses.db*",
    "config.toml",
    "daemon.json",
    "daemon.lock",
    "hardware.json",
    "slmreg.jsonl*",
    "service.log*",
)

Command = Callable[..., Any]


@click.group()
def service() -> None:
    """Have the system start slmreg, and start it again when it fails.

    A systemd user unit on Linux, a launch agent on macOS, a scheduled task on Windows; with --system one of the whole
    machine, on Windows a service. Exit code 3 where there is no such thing, with what to do instead.

    \b
    Example: slmreg service install
    """


def _options(*, changes: bool) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        if changes:
            shows = "Show what would be written and run, and do nothing."
            command = click.option("--dry-run", is_flag=True, help=shows)(command)
        whole = "The service of the whole machine, with a user of its own, and not yours."
        return click.option("--system", "is_system", is_flag=True, help=whole)(command)

    return add


def _activation(command: Command) -> Command:
    return click.option(
        "--socket-activation/--no-socket-activation",
        "is_socket_activated",
        default=None,
        help="Start it with the first request (systemd) [default: as installed before, else at once].",
    )(command)


@service.command()
@_options(changes=True)
@_activation
@click.pass_context
def install(ctx: click.Context, is_system: bool, dry_run: bool, is_socket_activated: bool | None) -> None:
    """Install the service, start it now, and from now on with every login (--system: with the machine).

    What SLMREG_* and the folders of the Hugging Face cache are in this shell is kept for it. Installing again brings
    it up to date and keeps all settings.

    \b
    Example: slmreg service install --dry-run
    """
    work = ServiceWork.of(ctx, is_system=is_system, dry_run=dry_run)
    deployment = work.deployment(is_socket_activated)
    plan = work.system.install(deployment)
    if dry_run:
        work.do(plan)
        return
    work.refuse_what_could_not_start()
    work.do(plan)
    for name, value in deployment.record.environment:
        say(f"It has {name}={value}.")
    waits = deployment.record.is_socket_activated
    say("Installed: it starts with the first request." if waits else "Installed and started: `slmreg status`.")


@service.command()
@_options(changes=True)
@click.option("--purge/--keep-data", "purge", default=None, help="Remove slmreg's own files too, or keep them.")
@click.pass_context
def uninstall(ctx: click.Context, is_system: bool, dry_run: bool, purge: bool | None) -> None:
    """Stop the service and remove it. Models are left alone; slmreg's own files go only if you say so.

    \b
    Example: slmreg service uninstall --keep-data
    """
    work = ServiceWork.of(ctx, is_system=is_system, dry_run=dry_run)
    work.do(work.system.uninstall())
    if purge is None:
        question = "Remove its registry (pins, keys, measurements) and settings too? Models are not touched."
        purge = not dry_run and sys.stdin.isatty() and click.confirm(question, default=False, err=True)
    folders = work.own_folders()
    if not purge:
        kept = [f"  {folder}" for folder in folders if not any(other in folder.parents for other in folders)]
        say("\n".join(("Its own files are kept:", *kept)) if kept else "Removed.")
    elif dry_run:
        click.echo("\n".join(f"remove slmreg's own files in {folder}" for folder in folders))
    else:
        _purge(work.paths.run_file, folders)
        say("Removed, with its own files.")


def _purge(run_file: Path, folders: tuple[Path, ...]) -> None:
    """Raises DaemonAlreadyRunning where somebody has started a daemon by hand that works with these files."""
    from daemon.cli.instance import sole_instance
    from daemon.service.carry_out import remove_own_files

    if run_file.parent.is_dir():
        with sole_instance(run_file):
            pass
    remove_own_files(folders, OWN_FILES)


def _control(verb: str, sentence: str) -> click.Command:
    @service.command(verb, help=f"{sentence}\n\n\b\nExample: slmreg service {verb}")
    @_options(changes=True)
    @click.pass_context
    def control(ctx: click.Context, is_system: bool, dry_run: bool) -> None:
        work = ServiceWork.of(ctx, is_system=is_system, dry_run=dry_run)
        if not dry_run:
            work.require_installed()
            if verb == "start":
                work.refuse_what_could_not_start()
        work.do(getattr(work.system, verb)(work.record))

    return control


start = _control("start", "Start the installed service, and return when it is ready.")
stop = _control("stop", "Stop the service until the next login or start; running answers are finished first.")
restart = _control("restart", "Stop the service and start it again, for settings that it reads only then.")


@service.command()
@_options(changes=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(ctx: click.Context, is_system: bool, as_json: bool) -> None:
    """Say whether the service is installed, enabled and running. Exit code 1 if it does not run.

    \b
    Example: slmreg service status
    """
    work = ServiceWork.of(ctx, is_system=is_system, dry_run=False)
    state, running = work.state(), work.running()
    is_active = running is not None if state.is_active is None else state.is_active
    facts = {
        "installed": state.is_installed,
        "enabled": state.is_enabled,
        "active": is_active,
        "pid": state.pid,
        "url": running.url if running is not None and (state.pid in (None, running.pid)) else None,
        "state": state.words,
        "file": str(work.system.record_file),
    }
    if as_json:
        print_json(facts)
    elif not state.is_installed:
        say(f"The service is not installed. `{work.install_command}` does that.")
    else:
        at = f" at {facts['url']}" if facts["url"] is not None else ""
        pid = f", pid {state.pid}" if state.pid is not None else ""
        click.echo(f"{state.words}{at}{pid}; {'enabled' if state.is_enabled else 'not enabled'} ({facts['file']})")
    if not is_active:
        ctx.exit(1)


@service.command()
@_options(changes=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True, help="So many lines.")
@click.pass_context
def logs(ctx: click.Context, is_system: bool, follow: bool, lines: int) -> None:
    """Print what the service has said, from the system's journal or its file.

    \b
    Example: slmreg service logs -f
    """
    work = ServiceWork.of(ctx, is_system=is_system, dry_run=False)
    command = work.system.logs_command(lines=lines, follow=follow)
    try:
        ctx.exit(subprocess.run(command.arguments, check=False).returncode)
    except FileNotFoundError as error:
        raise NoServiceSystem(f"There is no program {command.arguments[0]!r} here, which has the logs.") from error
    except KeyboardInterrupt:
        ctx.exit(0)


@service.command("print")
@_options(changes=False)
@_activation
@click.pass_context
def print_files(ctx: click.Context, is_system: bool, is_socket_activated: bool | None) -> None:
    """Print the files that install would write, here, and change nothing.

    \b
    Example: slmreg service print --socket-activation
    """
    work = ServiceWork.of(ctx, is_system=is_system, dry_run=True)
    files = work.system.files(work.deployment(is_socket_activated))
    for each in files:
        say(f"# {each.path}")
        click.echo(as_text(each.content))


COMMANDS = (service,)
