"""The scheduled task for Windows, which starts when its user logs on, and what schtasks has to do with it.

The scheduler sets no environment and keeps no output, so the task runs ``daemon.service.hosted``, which does both.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from xml.etree import ElementTree

from daemon.service.deployment import DESCRIPTION, NAME, Deployment, Record
from daemon.service.plan import MakeFolder, Plan, RemoveFile, RunCommand, WriteFile
from daemon.service.state import ServiceState
from registry.errors import ServiceError

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
# By default a task gets 7, which is less than everything else on the machine, for its processor and its disk.
NORMAL_PRIORITY = "5"
MAX_RESTARTS = "255"
# What the scheduler would replace by something else, and knows no way to write as it is.
_REPLACED = re.compile(r"%[^%]+%|\$\(")


def task_xml(deployment: Deployment, *, user: str, launch: Path) -> bytes:
    """In UTF-16, as the scheduler wants it. ``launch`` is the file that ``daemon.service.hosted`` reads.

    Raises ServiceError for paths that the scheduler would change.
    """
    python, *_ = deployment.program
    arguments = subprocess.list2cmdline(["-P", "-m", "daemon.service.hosted", str(launch)])
    for word in (python, arguments):
        if _REPLACED.search(word):
            raise ServiceError(f"The task scheduler would replace a part of {word!r}: use a path without % and $(.")
    tree = {
        "RegistrationInfo": {"Description": DESCRIPTION, "URI": f"\\{NAME}"},
        "Triggers": {"LogonTrigger": {"Enabled": "true", "UserId": user}},
        "Principals": {
            "Principal": {"UserId": user, "LogonType": "InteractiveToken", "RunLevel": "LeastPrivilege"},
        },
        "Settings": {
            "MultipleInstancesPolicy": "IgnoreNew",
            "DisallowStartIfOnBatteries": "false",
            "StopIfGoingOnBatteries": "false",
            "AllowHardTerminate": "true",
            "StartWhenAvailable": "true",
            "RestartOnFailure": {"Interval": "PT1M", "Count": MAX_RESTARTS},
            "ExecutionTimeLimit": "PT0S",  # none
            "Priority": NORMAL_PRIORITY,
        },
        "Actions": {"Exec": {"Command": str(PureWindowsPath(python)), "Arguments": arguments}},
    }
    root = ElementTree.Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
    root.append(ElementTree.Comment(f" {deployment.record.line()} "))
    _append(root, tree)
    for element in ("Principals/Principal", "Actions"):
        found = root.find(element)
        if found is not None:
            found.set("id" if element != "Actions" else "Context", "Owner")
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-16", xml_declaration=True))


def _append(parent: ElementTree.Element, tree: Mapping[str, object]) -> None:
    """``tree``: the text of each element, or its elements."""
    for name, content in tree.items():
        element = ElementTree.SubElement(parent, name)
        if isinstance(content, Mapping):
            _append(element, content)
        else:
            element.text = str(content)


@dataclass(frozen=True, slots=True)
class TaskScheduler:
    """``folder`` is where the task's own files are kept; ``user`` is DOMAIN\\name."""

    folder: Path
    user: str

    @property
    def record_file(self) -> Path:
        return self.folder / "task.xml"

    @property
    def _launch(self) -> Path:
        return self.folder / "launch.json"

    @property
    def _log(self) -> Path:
        return self.folder / "service.log"

    def files(self, deployment: Deployment) -> tuple[WriteFile, ...]:
        """Raises ServiceError for what the scheduler cannot do."""
        if deployment.record.is_socket_activated:
            raise ServiceError("--socket-activation is for systemd: on Windows, slmreg runs from the start.")
        launch = {"environment": dict(deployment.record.environment), "log": str(self._log)}
        task = task_xml(deployment, user=self.user, launch=self._launch)
        return (WriteFile(self._launch, json.dumps(launch, indent=2).encode()), WriteFile(self.record_file, task))

    def install(self, deployment: Deployment) -> Plan:
        folders = tuple(dict.fromkeys((*deployment.own_folders, self.folder)))
        create = RunCommand(("schtasks", "/create", "/tn", NAME, "/xml", str(self.record_file), "/f"))
        return Plan(
            (
                *map(MakeFolder, folders),
                *self.files(deployment),
                create,
                RunCommand(("schtasks", "/end", "/tn", NAME), may_fail=True),
                RunCommand(("schtasks", "/run", "/tn", NAME)),
            ),
            ("It runs while you are logged on.",),
        )

    def uninstall(self) -> Plan:
        return Plan(
            (
                *remove_task(),
                RemoveFile(self._launch),
                RemoveFile(self.record_file),
            )
        )

    def start(self, _: Record) -> Plan:
        return Plan((RunCommand(("schtasks", "/run", "/tn", NAME)),))

    def stop(self, _: Record) -> Plan:
        """At once: Windows has no signal that would ask a process without a window to end."""
        return Plan((RunCommand(("schtasks", "/end", "/tn", NAME)),))

    def restart(self, record: Record) -> Plan:
        return Plan((RunCommand(("schtasks", "/end", "/tn", NAME), may_fail=True), *self.start(record).steps))

    def status_command(self) -> RunCommand:
        """As XML: the words of the other formats are in the language of the machine."""
        return RunCommand(("schtasks", "/query", "/tn", NAME, "/xml"), may_fail=True)

    def state(self, exit_code: int, output: str) -> ServiceState:
        """From what ``status_command`` has printed, which does not tell whether it runs: the daemon itself does."""
        is_registered = exit_code == 0
        is_disabled = "<Enabled>false</Enabled>" in output
        return ServiceState(
            is_installed=is_registered,
            is_enabled=is_registered and not is_disabled,
            is_active=None if is_registered else False,
            pid=None,
            words="registered" if is_registered else "not registered",
        )

    def logs_command(self, *, lines: int, follow: bool) -> RunCommand:
        return log_command(self._log, lines=lines, follow=follow)


def remove_task() -> tuple[RunCommand, ...]:
    """Ended and gone; none is no failure."""
    return (
        RunCommand(("schtasks", "/end", "/tn", NAME), may_fail=True),
        RunCommand(("schtasks", "/delete", "/tn", NAME, "/f"), may_fail=True),
    )


def log_command(log: Path, *, lines: int, follow: bool) -> RunCommand:
    """Prints the end of it."""
    wait = " -Wait" if follow else ""
    path = str(log).replace("'", "''")
    # Without an encoding, Windows' own PowerShell reads a file in that of the machine.
    shown = f"Get-Content -Encoding UTF8 -LiteralPath '{path}' -Tail {lines}{wait}"
    return RunCommand(("powershell", "-NoProfile", "-Command", shown))
