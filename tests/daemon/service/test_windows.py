from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from daemon.service.deployment import Record
from daemon.service.plan import RunCommand, WriteFile
from daemon.service.windows import NAMESPACE, TaskScheduler
from registry.errors import ServiceError
from tests.daemon.service.conftest import Make

BOOLEAN, DURATION, TEXT, SID = r"true|false", r"PT\d+[SMH]", r"(?s).+", r"S-1-5-\d+|[^\\]+(\\.+)?"
# The Task Scheduler schema (MS-TSCH, version 1.2), as far as we use it: for each element those that it may have, in the
# order of the schema's sequences where it has them (``Trigger`` base first), and what the text of the others is.
CHILDREN: dict[str, tuple[str, ...]] = {
    "Task": ("RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"),
    "RegistrationInfo": ("Description", "URI"),
    "Triggers": ("LogonTrigger",),
    "LogonTrigger": ("Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit", "UserId", "Delay"),
    "Principals": ("Principal",),
    "Principal": ("UserId", "LogonType", "GroupId", "DisplayName", "RunLevel"),
    "Settings": (
        "MultipleInstancesPolicy",
        "DisallowStartIfOnBatteries",
        "StopIfGoingOnBatteries",
        "AllowHardTerminate",
        "StartWhenAvailable",
        "RestartOnFailure",
        "ExecutionTimeLimit",
        "Priority",
    ),
    "RestartOnFailure": ("Interval", "Count"),
    "Actions": ("Exec",),
    "Exec": ("Command", "Arguments", "WorkingDirectory"),
}
TEXTS = {
    "Description": TEXT,
    "URI": r"\\\w+",
    "Enabled": BOOLEAN,
    "UserId": SID,
    "LogonType": "InteractiveToken|S4U|Password|ServiceAccount",
    "RunLevel": "LeastPrivilege|HighestAvailable",
    "MultipleInstancesPolicy": "Parallel|Queue|IgnoreNew|StopExisting",
    "DisallowStartIfOnBatteries": BOOLEAN,
    "StopIfGoingOnBatteries": BOOLEAN,
    "AllowHardTerminate": BOOLEAN,
    "StartWhenAvailable": BOOLEAN,
    "ExecutionTimeLimit": DURATION,
    "Priority": r"\d|10",
    "Interval": DURATION,
    "Count": r"\d+",
    "Command": TEXT,
    "Arguments": TEXT,
}
PROGRAM = ("C:\\Program Files\\slm & reg <ü模型>\\pythonw.exe", "-P", "-m", "daemon.cli")


def task(folder: str = "C:/Users/Jörg Müller/slmreg") -> TaskScheduler:
    return TaskScheduler(Path(folder), "HOST\\Jörg Müller")


def task_file(files: tuple[WriteFile, ...]) -> bytes:
    return next(file.content for file in files if file.path.suffix == ".xml")


def check(element: ElementTree.Element) -> None:
    """Raises AssertionError where the schema does not allow what is there."""
    assert element.tag.startswith(f"{{{NAMESPACE}}}")
    name = element.tag.partition("}")[2]
    names = [child.tag.partition("}")[2] for child in element]
    if name in TEXTS:
        assert not names, name
        assert re.fullmatch(TEXTS[name], element.text or ""), (name, element.text)
        return
    allowed = CHILDREN[name]
    assert set(names) <= set(allowed), (name, names)
    assert names == sorted(names, key=allowed.index), (name, names)
    assert len(set(names)) == len(names), (name, names)
    for child in element:
        check(child)


def test_the_task_is_what_the_schema_allows(make: Make) -> None:
    content = task_file(task().files(make(program=PROGRAM)))
    assert content[:2] in (b"\xff\xfe", b"\xfe\xff")
    root = ElementTree.fromstring(content.decode("utf-16"))  # noqa: S314 - our own
    check(root)
    space = {"t": NAMESPACE}
    assert root.get("version") == "1.2"
    assert root.findtext("t:Actions/t:Exec/t:Command", None, space) == PROGRAM[0]
    assert root.findtext("t:Settings/t:ExecutionTimeLimit", None, space) == "PT0S"
    assert int(root.findtext("t:Settings/t:RestartOnFailure/t:Count", "", space)) <= 255
    principal, actions = root.find("t:Principals/t:Principal", space), root.find("t:Actions", space)
    assert principal is not None
    assert actions is not None
    assert principal.get("id") == actions.get("Context")
    assert root.find("t:Triggers/t:LogonTrigger", space) is not None
    assert principal.findtext("t:UserId", None, space) == "HOST\\Jörg Müller"


def test_the_checker_itself_refuses_what_the_schema_does() -> None:
    wrong = f'<Task xmlns="{NAMESPACE}"><Actions/><Triggers/></Task>'
    with pytest.raises(AssertionError):
        check(ElementTree.fromstring(wrong))  # noqa: S314 - our own


def test_the_record_comes_through_a_comment_even_with_two_dashes(make: Make) -> None:
    record = Record((("SLMREG_HOME", "C:\\a--b -->ü"),))
    content = task_file(task().files(make(program=PROGRAM, record=record))).decode("utf-16")
    ElementTree.fromstring(content)  # noqa: S314 - our own
    assert Record.find(content) == record


@pytest.mark.parametrize("path", ["C:\\%TEMP%\\python.exe", "C:\\$(Arg0)\\python.exe"])
def test_a_path_that_the_scheduler_would_change_is_refused(make: Make, path: str) -> None:
    with pytest.raises(ServiceError, match="would replace"):
        task().files(make(program=(path,)))
    with pytest.raises(ServiceError, match="would replace"):
        task(folder="C:/a%b%c").files(make(program=PROGRAM))
    assert task(folder="C:/100% mine").files(make(program=PROGRAM))


def test_installing_replaces_and_starts_it(make: Make) -> None:
    plan = task().install(make(program=PROGRAM))
    run = [step.arguments for step in plan.steps if isinstance(step, RunCommand)]
    assert [command[:2] for command in run] == [("schtasks", "/create"), ("schtasks", "/end"), ("schtasks", "/run")]


def test_sockets_are_not_promised(make: Make) -> None:
    with pytest.raises(ServiceError, match="systemd"):
        task().install(make(record=Record((), is_socket_activated=True)))


def test_the_state_is_read_from_xml_which_has_no_language() -> None:
    assert task().state(0, "<Task><Settings><Enabled>true</Enabled></Settings></Task>").is_enabled
    assert not task().state(0, "<Task><Settings><Enabled>false</Enabled></Settings></Task>").is_enabled
    assert not task().state(1, "FEHLER: nicht gefunden").is_installed


def test_whether_it_runs_is_for_the_daemon_to_say_where_there_is_a_task() -> None:
    assert task().state(0, "<Task/>").is_active is None
    assert task().state(1, "").is_active is False


def test_what_the_task_runs_sets_the_environment_and_keeps_the_output(tmp_path: Path) -> None:
    log, launch = tmp_path / "service.log", tmp_path / "launch ü.json"
    log.write_text("what was said before", encoding="utf-8")
    home = {"SLMREG_HOME": str(tmp_path / "hö me"), "SLMREG_PORT": "none"}
    launch.write_text(json.dumps({"environment": home, "log": str(log)}), encoding="utf-8")
    command = [sys.executable, "-m", "daemon.service.hosted", str(launch)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert "SLMREG_PORT = 'none' is not usable" in log.read_text(encoding="utf-8")
    assert log.with_name("service.log.1").read_text(encoding="utf-8") == "what was said before"
