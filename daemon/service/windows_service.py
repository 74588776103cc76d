"""The service of Windows for ``--system``: what sc, reg and PowerShell have to do for it.

It starts with the machine, as LocalService, with nobody logged on. What the service control manager starts is
``daemon.service.windows_host``, in the Python of this installation. That is not the ``pythonw.exe`` of a virtual
environment, which would start the real one as another process than the one that the manager waits for: the manager
starts the real one, and says in its environment which virtual environment is meant, as ``multiprocessing`` does.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from daemon.service.deployment import DESCRIPTION, HOME_VARIABLE, NAME, Deployment, Record
from daemon.service.plan import MakeFolder, Plan, RemoveFile, RunCommand, Step, WriteFile
from daemon.service.state import ServiceState
from daemon.service.windows import log_command, remove_task
from registry.errors import ServiceError

KEY = f"HKLM\\SYSTEM\\CurrentControlSet\\Services\\{NAME}"
LOCAL_SERVICE, SYSTEM, ADMINISTRATORS = "S-1-5-19", "S-1-5-18", "S-1-5-32-544"
ACCOUNT = "NT AUTHORITY\\LocalService"
# How long after each failure it is started again; the last one goes on being used.
BACKOFF_S = (5, 30, 300)
# So long without a failure, and the first of them is used again.
FORGET_FAILURES_S = 3600
RIGHTS = "Services of the system are for administrators: use a terminal that was opened as administrator."
_EXPANDED = re.compile(r"%[^%]+%")
# The words of sc are in the language of the machine, but for the names of constants.
_STATE = re.compile(r":\s*\d\s+(STOPPED|START_PENDING|STOP_PENDING|RUNNING)\b")
_PID = re.compile(r"\bPID\s*:\s*(\d+)")
_STARTS = re.compile(r":\s*\d\s+AUTO_START\b")


@dataclass(frozen=True, slots=True)
class ServiceControl:
    """``folder`` is where the service's own files are kept. ``python`` is the interpreter without a window;
    ``environment`` the one of a virtual environment that it stands for, None where there is none. ``former_task`` is
    the file of the boot task that an earlier slmreg has installed, while there is one.
    """

    folder: Path
    python: str
    environment: str | None = None
    former_task: Path | None = None

    @property
    def record_file(self) -> Path:
        return self.former_task or self._installed

    @property
    def _installed(self) -> Path:
        return self.folder / "service.txt"

    @property
    def _log(self) -> Path:
        return self._installed.with_suffix(".log")

    def files(self, deployment: Deployment) -> tuple[WriteFile, ...]:
        """Raises ServiceError for what a service of Windows cannot do."""
        if deployment.record.is_socket_activated:
            raise ServiceError("--socket-activation is for systemd: on Windows, slmreg runs from the start.")
        said = f"# Made by `slmreg service install --system`, and read by the service.\n# {deployment.record.line()}\n"
        return (WriteFile(self._installed, said.encode()),)

    def install(self, deployment: Deployment) -> Plan:
        """Of one that is there already, everything is said again: what it was before does not matter."""
        folders = tuple(dict.fromkeys((*deployment.own_folders, self.folder)))
        is_what = (
            *("binPath=", self._command(), "start=", "delayed-auto", "obj=", ACCOUNT),
            *("DisplayName=", NAME),
        )
        return Plan(
            (
                *map(MakeFolder, folders),
                *self.files(deployment),
                *map(_granted, folders),
                *self._remove_former_task(),
                RunCommand(("sc", "create", NAME, *is_what), may_fail=True),
                RunCommand(("sc", "config", NAME, *is_what), hint=RIGHTS),
                RunCommand(("sc", "description", NAME, DESCRIPTION)),
                *self._survives_failures(),
                *self._in_registry(deployment.stop_timeout_s),
                *self.restart(deployment.record).steps,
            ),
            self._notes(deployment),
        )

    def _command(self) -> str:
        """Raises ServiceError for a path that the service control manager would change."""
        command = subprocess.list2cmdline(
            [self.python, "-P", "-m", "daemon.service.windows_host", str(self._installed)]
        )
        if _EXPANDED.search(command):
            raise ServiceError(f"Windows would replace a part of {command!r}: use a path without %.")
        return command

    def _survives_failures(self) -> tuple[RunCommand, ...]:
        """The flag: also when it ends with an error, and not only when it breaks off."""
        actions = "/".join(f"restart/{seconds * 1000}" for seconds in BACKOFF_S)
        return (
            RunCommand(("sc", "failure", NAME, "reset=", str(FORGET_FAILURES_S), "actions=", actions)),
            RunCommand(("sc", "failureflag", NAME, "1")),
        )

    def _in_registry(self, stop_timeout_s: float) -> tuple[RunCommand, ...]:
        """What sc has no words for: how long a shutdown waits, and the environment."""
        waits = ("/v", "PreshutdownTimeout", "/t", "REG_DWORD", "/d", str(round(stop_timeout_s * 1000)), "/f")
        launcher = ("/v", "Environment", "/t", "REG_MULTI_SZ", "/d", f"__PYVENV_LAUNCHER__={self.environment}", "/f")
        return (
            RunCommand(("reg", "add", KEY, *waits)),
            RunCommand(("reg", "delete", KEY, "/v", "Environment", "/f"), may_fail=True)
            if self.environment is None
            else RunCommand(("reg", "add", KEY, *launcher)),
        )

    def _remove_former_task(self) -> tuple[Step, ...]:
        if self.former_task is None:
            return ()
        return (*remove_task(), RemoveFile(self.former_task), RemoveFile(self.former_task.with_name("launch.json")))

    def _notes(self, deployment: Deployment) -> tuple[str, ...]:
        home = dict(deployment.record.environment).get(HOME_VARIABLE)
        return (
            "It runs as LocalService, which must be able to read the folders of models and this installation. "
            f"Its home is {home}.",
        )

    def uninstall(self) -> Plan:
        return Plan(
            (
                *self._remove_former_task(),
                RunCommand(_powershell("Stop-Service", "-ErrorAction Stop"), may_fail=True),
                RunCommand(("sc", "delete", NAME), may_fail=True),
                RemoveFile(self._installed),
            )
        )

    def start(self, _: Record) -> Plan:
        return Plan((RunCommand(_powershell("Start-Service", "-ErrorAction Stop"), hint=self._where_it_says_why),))

    def stop(self, _: Record) -> Plan:
        return Plan((RunCommand(_powershell("Stop-Service", "-ErrorAction Stop")),))

    def restart(self, _: Record) -> Plan:
        """One that does not run is started."""
        return Plan((RunCommand(_powershell("Restart-Service", "-ErrorAction Stop"), hint=self._where_it_says_why),))

    @property
    def _where_it_says_why(self) -> str:
        return f"What it said: `slmreg service logs --system` ({self._log})."

    def status_command(self) -> RunCommand:
        return RunCommand(("cmd", "/d", "/c", f"sc qc {NAME} & sc queryex {NAME}"), may_fail=True)

    def state(self, exit_code: int, output: str) -> ServiceState:
        """From what ``status_command`` has printed."""
        state, pid = _STATE.search(output), _PID.search(output)
        if exit_code or state is None:
            return self._without_service()
        return ServiceState(
            is_installed=True,
            is_enabled=_STARTS.search(output) is not None,
            is_active=state.group(1) in ("RUNNING", "START_PENDING"),
            pid=int(pid.group(1)) if pid is not None and pid.group(1) != "0" else None,
            words=state.group(1).lower().replace("_", " "),
        )

    def _without_service(self) -> ServiceState:
        if self.former_task is None:
            return ServiceState(is_installed=False, is_enabled=False, is_active=False, pid=None, words="not installed")
        words = "the task of an earlier slmreg"
        return ServiceState(is_installed=True, is_enabled=True, is_active=None, pid=None, words=words)

    def logs_command(self, *, lines: int, follow: bool) -> RunCommand:
        return log_command(self._log, lines=lines, follow=follow)


def _granted(folder: Path) -> RunCommand:
    """To the account, what is in it now and later, and to administrators; to nobody else, for keys are in there.

    What Windows itself makes of a new folder in %PROGRAMDATA% is one that everybody reads.
    """
    grants = (f"*{LOCAL_SERVICE}:(OI)(CI)M", *(f"*{group}:(OI)(CI)F" for group in (SYSTEM, ADMINISTRATORS)))
    return RunCommand(("icacls", str(folder), "/inheritance:r", "/grant:r", *grants), hint=RIGHTS)


def _powershell(verb: str, options: str) -> tuple[str, ...]:
    """These wait until it is done, and have nothing to do where it was done before; those of sc do neither."""
    return ("powershell", "-NoProfile", "-Command", f"{verb} -Name {NAME} {options}")
