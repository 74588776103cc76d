"""The property list for launchd (macOS), and what launchctl has to do with it.

A user's agent runs while that user is logged in; with ``--system`` it is a daemon of the machine, which runs as the
user who installed it: macOS has no lightweight way to make a user, and model caches belong to people.
"""

from __future__ import annotations

import plistlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.service.deployment import Deployment, Record, Scope
from daemon.service.plan import MakeFolder, Plan, RemoveFile, RunCommand, WriteFile
from daemon.service.state import ServiceState
from registry.errors import ServiceError

LABEL = "slmreg.daemon"
SYSTEM_AGENTS = Path("/Library/LaunchDaemons")
SYSTEM_LOGS = Path("/Library/Logs/slmreg")
# More than max_connections beside what models take; by default a process has 256.
MAX_FILES = 8192
LEAST_RESTART_S = 10
_STATE = re.compile(r"^\s*state = (.+)$", re.MULTILINE)
_PID = re.compile(r"^\s*pid = (\d+)$", re.MULTILINE)


def property_list(deployment: Deployment, *, log: Path, user: str) -> dict[str, Any]:
    """``user`` is whom a daemon of the machine runs as."""
    system = {"UserName": user} if deployment.scope is Scope.SYSTEM else {}
    return {
        "Label": LABEL,
        "ProgramArguments": list(deployment.command),
        "EnvironmentVariables": dict(deployment.record.environment),
        "RunAtLoad": True,
        # Again when it failed, but not when it was asked to stop, which ends it with 0. launchd has no longer and
        # longer back-off: it waits at least so long between two starts.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": LEAST_RESTART_S,
        "ExitTimeOut": round(deployment.stop_timeout_s),
        "ProcessType": "Interactive",  # somebody waits for its answers: neither its cores nor its disk are held back
        "SoftResourceLimits": {"NumberOfFiles": MAX_FILES},
        "Umask": 0o077,
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
        **system,
    }


@dataclass(frozen=True, slots=True)
class Launchd:
    """``agents`` is the folder of the property lists; ``uid`` and ``user`` are those of who installs it."""

    scope: Scope
    agents: Path
    logs: Path
    uid: int
    user: str

    @property
    def record_file(self) -> Path:
        return self.agents / f"{LABEL}.plist"

    @property
    def _domain(self) -> str:
        return "system" if self.scope is Scope.SYSTEM else f"gui/{self.uid}"

    @property
    def _target(self) -> str:
        return f"{self._domain}/{LABEL}"

    @property
    def _log(self) -> Path:
        return self.logs / "service.log"

    def files(self, deployment: Deployment) -> tuple[WriteFile, ...]:
        """Raises ServiceError for what launchd cannot do."""
        if deployment.record.is_socket_activated:
            raise ServiceError("--socket-activation is for systemd: with launchd, slmreg runs from the start.")
        listed = plistlib.dumps(property_list(deployment, log=self._log, user=self.user), sort_keys=False)
        comment = f"<!-- {deployment.record.line()} -->\n".encode()
        return (WriteFile(self.record_file, listed.replace(b"<plist ", comment + b"<plist ", 1)),)

    def install(self, deployment: Deployment) -> Plan:
        """bootout first: a list that is loaded already is not read again."""
        return Plan(
            (
                *(MakeFolder(folder) for folder in (*deployment.own_folders, self.logs)),
                *self.files(deployment),
                RunCommand(("launchctl", "bootout", self._target), may_fail=True),
                RunCommand(("launchctl", "enable", self._target)),
                RunCommand(("launchctl", "bootstrap", self._domain, str(self.record_file))),
            ),
            ("It runs while you are logged in.",) if self.scope is Scope.USER else (),
        )

    def uninstall(self) -> Plan:
        return Plan((RunCommand(("launchctl", "bootout", self._target), may_fail=True), RemoveFile(self.record_file)))

    def start(self, _: Record) -> Plan:
        loaded = RunCommand(("launchctl", "bootstrap", self._domain, str(self.record_file)), may_fail=True)
        return Plan((loaded, RunCommand(("launchctl", "kickstart", self._target))))

    def stop(self, _: Record) -> Plan:
        """It ends with 0, and so is not started again until the next login."""
        return Plan((RunCommand(("launchctl", "kill", "SIGTERM", self._target), may_fail=True),))

    def restart(self, _: Record) -> Plan:
        return Plan((RunCommand(("launchctl", "kickstart", "-k", self._target)),))

    def status_command(self) -> RunCommand:
        return RunCommand(("launchctl", "print", self._target), may_fail=True)

    def state(self, exit_code: int, output: str) -> ServiceState:
        """From what ``status_command`` has printed."""
        is_loaded = exit_code == 0
        state, pid = _STATE.search(output), _PID.search(output)
        return ServiceState(
            is_installed=is_loaded or self.record_file.exists(),
            is_enabled=is_loaded,
            is_active=is_loaded and pid is not None,
            pid=int(pid.group(1)) if is_loaded and pid is not None else None,
            words=state.group(1) if is_loaded and state is not None else "not loaded",
        )

    def logs_command(self, *, lines: int, follow: bool) -> RunCommand:
        return RunCommand(("tail", "-n", str(lines), *(("-F",) if follow else ()), str(self._log)))
