"""The service under systemd: what systemctl and journalctl do for it. ``daemon.service.units`` has its units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from daemon.service.deployment import HOME_VARIABLE, NAME, Deployment, Record, Scope
from daemon.service.plan import MakeFolder, Plan, RemoveFile, RunCommand, Step, WriteFile
from daemon.service.state import ServiceState
from daemon.service.units import SERVICE, SOCKET, service_unit, socket_unit

SYSTEM_HOME = Path("/var/lib/slmreg")
SYSTEM_UNITS = Path("/etc/systemd/system")
SYSUSERS = Path("/etc/sysusers.d/slmreg.conf")
# Of the user. A colon, which ends a field of /etc/passwd, would be refused.
_FULL_NAME = "slmreg daemon"


@dataclass(frozen=True, slots=True)
class Systemd:
    """``units`` is the folder of the unit files. Plans are made for one scope."""

    scope: Scope
    units: Path
    version: int
    groups: tuple[str, ...] = ()
    has_user_namespaces: bool = True

    @property
    def record_file(self) -> Path:
        return self.units / SERVICE

    def files(self, deployment: Deployment) -> tuple[WriteFile, ...]:
        """What ``install`` writes."""
        unit = service_unit(
            deployment, version=self.version, groups=self.groups, has_user_namespaces=self.has_user_namespaces
        )
        files = [WriteFile(self.units / SERVICE, unit.encode())]
        if deployment.record.is_socket_activated:
            files.append(WriteFile(self.units / SOCKET, socket_unit(deployment).encode()))
        if self.scope is Scope.SYSTEM:
            line = f'u {NAME} - "{_FULL_NAME}" {SYSTEM_HOME}\n'
            files.append(WriteFile(SYSUSERS, line.encode()))
        return tuple(files)

    def install(self, deployment: Deployment) -> Plan:
        files = self.files(deployment)  # before anything else: it may raise
        is_user = self.scope is Scope.USER
        folders = deployment.own_folders if is_user else ()  # systemd makes those of a system service
        made_user = () if is_user else (RunCommand(("systemd-sysusers", str(SYSUSERS))),)
        switched_on = self._on_request() if deployment.record.is_socket_activated else self._at_once()
        reload = self._systemctl("daemon-reload")
        return Plan((*map(MakeFolder, folders), *files, *made_user, reload, *switched_on), self._notes())

    def _on_request(self) -> tuple[Step, ...]:
        return (
            self._systemctl("disable", SERVICE, may_fail=True),
            self._systemctl("enable", SOCKET),
            self._systemctl("stop", SERVICE, may_fail=True),
            self._systemctl("restart", SOCKET, hint=self._hint),
        )

    def _at_once(self) -> tuple[Step, ...]:
        """Also where it was started by a request until now."""
        return (
            self._systemctl("disable", "--now", SOCKET, may_fail=True),
            RemoveFile(self.units / SOCKET),
            self._systemctl("enable", SERVICE),
            self._systemctl("restart", SERVICE, hint=self._hint),
        )

    def uninstall(self) -> Plan:
        steps: tuple[Step, ...] = (
            self._systemctl("disable", "--now", SOCKET, may_fail=True),
            self._systemctl("disable", "--now", SERVICE, may_fail=True),
            RemoveFile(self.units / SOCKET),
            RemoveFile(self.units / SERVICE),
            *((RemoveFile(SYSUSERS),) if self.scope is Scope.SYSTEM else ()),
            self._systemctl("daemon-reload"),
            self._systemctl("reset-failed", SERVICE, may_fail=True),
        )
        kept = (f"The user {NAME} is kept, because files may be its own; `userdel {NAME}` removes it.",)
        return Plan(steps, kept if self.scope is Scope.SYSTEM else ())

    def start(self, record: Record) -> Plan:
        return Plan((self._systemctl("start", SOCKET if record.is_socket_activated else SERVICE, hint=self._hint),))

    def stop(self, record: Record) -> Plan:
        """With its socket, which would start it again."""
        units = (SOCKET, SERVICE) if record.is_socket_activated else (SERVICE,)
        return Plan((self._systemctl("stop", *units),))

    def restart(self, record: Record) -> Plan:
        units = (SOCKET, SERVICE) if record.is_socket_activated else (SERVICE,)
        return Plan((*self.stop(record).steps, self._systemctl("start", units[0], hint=self._hint)))

    def status_command(self) -> RunCommand:
        shown = "LoadState,ActiveState,SubState,MainPID,UnitFileState,NRestarts,StatusText,Result"
        return self._systemctl("show", SERVICE, SOCKET, f"--property={shown}", may_fail=True)

    def state(self, exit_code: int, output: str) -> ServiceState:
        """From what ``status_command`` has printed: the service, an empty line, its socket."""
        service, socket = ((*map(_properties, output.split("\n\n")), {}, {}) if exit_code == 0 else ({}, {}))[:2]
        is_waiting = socket.get("ActiveState") == "active"
        runs = service.get("ActiveState") in ("active", "activating", "reloading", "deactivating")
        words = [f"{service.get('ActiveState', 'unknown')} ({service.get('SubState', 'unknown')})"]
        if is_waiting and not runs:
            words = ["starts with the first request"]
        words += [service["StatusText"]] if runs and service.get("StatusText") else []
        if (count := service.get("NRestarts", "0")) != "0":
            words.append("restarted once" if count == "1" else f"restarted {count} times")
        return ServiceState(
            is_installed=service.get("LoadState") == "loaded",
            is_enabled="enabled" in (service.get("UnitFileState"), socket.get("UnitFileState")),
            is_active=service.get("ActiveState") in ("active", "activating", "reloading") or is_waiting,
            pid=int(service.get("MainPID", "0")) or None,
            words=", ".join(words),
        )

    def logs_command(self, *, lines: int, follow: bool) -> RunCommand:
        user = ("--user",) if self.scope is Scope.USER else ()
        more = ("--follow",) if follow else ("--no-pager",)
        return RunCommand(("journalctl", *user, f"--unit={SERVICE}", f"--lines={lines}", *more))

    def _systemctl(self, *arguments: str, may_fail: bool = False, hint: str | None = None) -> RunCommand:
        user = ("--user",) if self.scope is Scope.USER else ()
        return RunCommand(("systemctl", *user, *arguments), may_fail, hint)

    @property
    def _hint(self) -> str:
        system = " --system" if self.scope is Scope.SYSTEM else ""
        return f"`slmreg service logs{system}` says why."

    def _notes(self) -> tuple[str, ...]:
        if self.scope is Scope.SYSTEM:
            return (
                f"It runs as the user {NAME}, which must be able to read the folders of models.",
                f"Its home is {SYSTEM_HOME}: `sudo -u {NAME} {HOME_VARIABLE}={SYSTEM_HOME} slmreg roots add PATH`.",
            )
        return (
            "It runs from your first login to your last logout. To have it run from the start of the machine, without "
            "anybody logged in: `loginctl enable-linger`.",
        )


def _properties(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
