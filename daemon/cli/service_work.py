"""What every ``slmreg service`` command works on: the service system, what is installed, and this installation."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli.output import say
from registry.errors import DaemonAlreadyRunning, NoServiceSystem, SettingsError

if TYPE_CHECKING:
    from daemon.cli.daemon_link import RunningDaemon
    from daemon.paths import Paths
    from daemon.service.deployment import Deployment, Record, Scope
    from daemon.service.here import ServiceSystem
    from daemon.service.plan import Plan
    from daemon.service.state import ServiceState

# For scripts that fall back to something else: this machine, or this session, has no service system.
NO_SERVICE_SYSTEM = 3


@dataclass(frozen=True, slots=True)
class ServiceWork:
    """What one command works on. ``record`` is what is installed, an empty one where nothing is."""

    scope: Scope
    system: ServiceSystem
    record: Record
    is_installed: bool
    dry_run: bool

    @classmethod
    def of(cls, ctx: click.Context, *, is_system: bool, dry_run: bool) -> ServiceWork:
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
        """What ``install`` installs. Raises SettingsError for settings with which it would not start."""
        from daemon.config.layers import load_settings
        from daemon.paths import Paths
        from daemon.service.deployment import Scope
        from daemon.service.here import deployment_of, planned_record

        planned = planned_record(self.scope, os.environ, self.record, is_socket_activated=is_socket_activated)
        environment = {**os.environ, **dict(planned.environment)}
        paths = Paths.from_environment(environment)
        try:
            settings = load_settings(paths, environment)
        except SettingsError as error:
            raise SettingsError(f"The service would not start with these settings. {error.message}") from error
        # Nobody but its own user opens the registry of a system service: the files would be root's.
        roots = _roots(paths.database) if self.scope is Scope.USER else ()
        return deployment_of(self.scope, planned, paths, settings, roots)

    @property
    def paths(self) -> Paths:
        """Of the service that is installed."""
        from daemon.paths import Paths

        return Paths.from_environment({**os.environ, **dict(self.record.environment)})

    def own_folders(self) -> tuple[Path, ...]:
        """Every folder that slmreg has files in, the deepest first: one is removed when nothing is left in it."""
        from dataclasses import fields

        paths = self.paths
        folders = {getattr(paths, field.name).parent for field in fields(paths)}
        return tuple(sorted(filter(Path.is_dir, folders), key=lambda folder: (-len(folder.parts), folder)))

    def running(self) -> RunningDaemon | None:
        """The daemon of the service's home, or None."""
        from daemon.cli.daemon_link import find_daemon, read_run_file
        from daemon.cli.discovery import SYSTEM_RUN_FILE
        from daemon.service.deployment import Scope

        own = find_daemon(self.paths.run_file)
        return read_run_file(SYSTEM_RUN_FILE) if own is None and self.scope is Scope.SYSTEM else own

    def state(self) -> ServiceState:
        """What the service system says of it."""
        from daemon.service.carry_out import run_command

        outcome = run_command(self.system.status_command().arguments)
        return self.system.state(outcome.exit_code, outcome.output)

    @property
    def install_command(self) -> str:
        """What a person types to have it."""
        from daemon.service.deployment import Scope

        return f"slmreg service install{' --system' if self.scope is Scope.SYSTEM else ''}"

    def require_installed(self) -> None:
        from registry.errors import ServiceError

        if not self.is_installed:
            raise ServiceError(f"The service is not installed. `{self.install_command}` does that, and starts it.")

    def refuse_what_could_not_start(self) -> None:
        """Raises DaemonAlreadyRunning beside a daemon of this home that is not the service's, and ServiceError."""
        from daemon.service.here import require_shared_program

        require_shared_program(self.scope, (Path(sys.executable), Path(__file__)))
        running = self.running()
        if running is None:
            return
        state = self.state()
        if not state.is_active and not (state.is_active is None and state.is_installed):
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
                click.echo("\n".join(f"    {line}" for line in as_text(step.content).splitlines()))
        for note in plan.notes:
            say(note)


def as_text(content: bytes) -> str:
    return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8").rstrip("\n")


def _roots(database: Path) -> tuple[Path, ...]:
    """The folders that people have added; a registry that is not there yet has none."""
    if not database.exists():
        return ()
    from registry.store import Registry

    with Registry.open(database) as registry:
        return tuple(root.path for root in registry.root_choices() if root.is_added)
