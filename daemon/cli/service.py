"""service install, uninstall, start, stop, restart, status, logs, print: slmreg started by the system."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli.output import print_json, say
from registry.errors import DaemonAlreadyRunning, NoServiceSystem, SettingsError

if TYPE_CHECKING:
    from daemon.service.deployment import Deployment, Record, Scope
    from daemon.service.here import ServiceSystem
    from daemon.service.plan import Plan
    from daemon.settings import Paths

# For scripts that fall back to something else: this machine, or this session, has no service system.
NO_SERVICE_SYSTEM = 3
# What slmreg writes into its folders. Models are never among it, not even where they lie in the same folder.
OWN_FILES = (
    "registry.db*",
    "registry.json*",
    "responses.db*",
    "config.toml",
    "daemon.json",
    "daemon.lock",
    "hardware.json",
    "slmreg.log*",
    "service.log*",
)

Command = Callable[..., Any]


@click.group()
def service() -> None:
    """Have the system start slmreg, and start it again when it fails.

    A systemd user unit on Linux, a launch agent on macOS, a scheduled task on Windows; with --system one of the whole
    machine. Exit code 3 where there is no such thing, with what to do instead.

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
    work = _Work.of(ctx, is_system=is_system, dry_run=dry_run)
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
    work = _Work.of(ctx, is_system=is_system, dry_run=dry_run)
    paths = work.own_paths()
    work.do(work.system.uninstall())
    if purge is None:
        question = "Remove its registry (pins, keys, measurements) and settings too? Models are not touched."
        purge = not dry_run and sys.stdin.isatty() and click.confirm(question, default=False, err=True)
    folders = tuple(path for path in paths if path.is_dir())
    if not purge:
        say("\n".join(("Its own files are kept:", *(f"  {folder}" for folder in folders))) if folders else "Removed.")
        return
    if dry_run:
        click.echo("\n".join(f"remove slmreg's own files in {folder}" for folder in folders))
        return
    from daemon.cli.instance import sole_instance
    from daemon.service.carry_out import remove_own_files

    with sole_instance(work.run_file):  # one that somebody has started by hand still works with them
        pass
    remove_own_files(folders, OWN_FILES)
    say("Removed, with its own files.")


def _control(verb: str, sentence: str) -> click.Command:
    @service.command(verb, help=f"{sentence}\n\n\b\nExample: slmreg service {verb}")
    @_options(changes=True)
    @click.pass_context
    def control(ctx: click.Context, is_system: bool, dry_run: bool) -> None:
        work = _Work.of(ctx, is_system=is_system, dry_run=dry_run)
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
    from daemon.cli.daemon_link import find_daemon
    from daemon.service.carry_out import run_command

    work = _Work.of(ctx, is_system=is_system, dry_run=False)
    outcome = run_command(work.system.status_command().arguments)
    state = work.system.state(outcome.exit_code, outcome.output)
    running = find_daemon(work.run_file)
    is_active = state.is_active or (sys.platform == "win32" and state.is_installed and running is not None)
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
        say("The service is not installed. `slmreg service install` does that.")
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
    work = _Work.of(ctx, is_system=is_system, dry_run=False)
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
    work = _Work.of(ctx, is_system=is_system, dry_run=True)
    files = work.system.files(work.deployment(is_socket_activated))
    for each in files:
        say(f"# {each.path}")
        click.echo(_as_text(each.content))


def _as_text(content: bytes) -> str:
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8").rstrip("\n")


@dataclass(frozen=True, slots=True)
class _Work:
    """What one command works on. The environment of this process is that of the service from here on."""

    scope: Scope
    system: ServiceSystem
    record: Record
    is_installed: bool
    dry_run: bool

    @classmethod
    def of(cls, ctx: click.Context, *, is_system: bool, dry_run: bool) -> _Work:
        from daemon.service.deployment import Record, Scope
        from daemon.service.here import read_record, require_rights, require_running, service_system

        scope = Scope.SYSTEM if is_system else Scope.USER
        reads = ctx.info_name in ("status", "logs", "print")
        try:
            system = service_system(scope, os.environ)
            if not dry_run:
                require_running(scope, os.environ)
                if not reads:
                    require_rights(scope)
        except NoServiceSystem as error:
            say(f"Error: {error.message}")
            ctx.exit(NO_SERVICE_SYSTEM)
        record = read_record(system)
        return cls(scope, system, record or Record(), record is not None, dry_run)

    def deployment(self, is_socket_activated: bool | None) -> Deployment:
        from daemon.cli.backend import home_paths
        from daemon.service.deployment import Scope
        from daemon.service.here import deployment_of, planned_record
        from daemon.settings import load_settings

        planned = planned_record(self.scope, os.environ, self.record, is_socket_activated=is_socket_activated)
        os.environ.update(planned.environment)
        paths = home_paths()
        try:
            settings = load_settings(paths)
        except SettingsError as error:
            raise SettingsError(f"The service would not start with these settings. {error.message}") from error
        # Nobody but its own user opens the registry of a system service: the files would be root's.
        roots = _roots(paths.database) if self.scope is Scope.USER else ()
        return deployment_of(self.scope, planned, paths, settings, roots)

    @property
    def run_file(self) -> Path:
        return self._paths().run_file

    def own_paths(self) -> tuple[Path, ...]:
        """Every folder that slmreg has files in."""
        from dataclasses import fields

        paths = self._paths()
        files = [getattr(paths, field.name) for field in fields(paths)]
        # The deepest first: a folder is removed when nothing is left in it.
        return tuple(sorted({file.parent for file in files}, key=lambda folder: -len(folder.parts)))

    def _paths(self) -> Paths:
        from daemon.cli.backend import home_paths

        os.environ.update(self.record.environment)
        return home_paths()

    def require_installed(self) -> None:
        from registry.errors import ServiceError

        if not self.is_installed:
            raise ServiceError("The service is not installed. `slmreg service install` does that, and starts it.")

    def refuse_what_could_not_start(self) -> None:
        """Raises DaemonAlreadyRunning beside a daemon of this home that is not the service's, and ServiceError."""
        from daemon.cli.daemon_link import find_daemon
        from daemon.service.carry_out import run_command
        from daemon.service.here import require_shared_program

        require_shared_program(self.scope, (Path(sys.executable), Path(__file__)))
        running = find_daemon(self.run_file)
        if running is None:
            return
        outcome = run_command(self.system.status_command().arguments)
        state = self.system.state(outcome.exit_code, outcome.output)
        if not state.is_active and not (sys.platform == "win32" and state.is_installed):
            raise DaemonAlreadyRunning(
                f"slmreg already runs at {running.url} (pid {running.pid}), and not as this service. Stop it first."
            )

    def do(self, plan: Plan) -> None:
        """Carry the plan out, or show it."""
        from daemon.service.carry_out import carry_out
        from daemon.service.plan import WriteFile

        if not self.dry_run:
            carry_out(plan, say)
        for step in plan.steps if self.dry_run else ():
            click.echo(str(step))
            if isinstance(step, WriteFile):
                click.echo("\n".join(f"    {line}" for line in _as_text(step.content).splitlines()))
        for note in plan.notes:
            say(note)


def _roots(database: Path) -> tuple[Path, ...]:
    """The folders that people have added; a registry that is not there yet has none."""
    if not database.exists():
        return ()
    from registry.store import Registry

    with Registry.open(database) as registry:
        return tuple(root.path for root in registry.root_choices() if root.is_added)


COMMANDS = (service,)
