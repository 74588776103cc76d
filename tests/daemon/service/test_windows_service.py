from __future__ import annotations

import sys
from pathlib import Path

import pytest

from daemon.service import here
from daemon.service.deployment import Deployment, Record, Scope
from daemon.service.here import read_record, service_system
from daemon.service.plan import Plan, RemoveFile, RunCommand, WriteFile
from daemon.service.windows import TaskScheduler
from daemon.service.windows_service import KEY, ServiceControl
from registry.errors import ServiceError
from tests.daemon.service.conftest import Make

PYTHON = "C:\\Program Files\\Python & Co\\pythonw.exe"
VENV = "C:\\Users\\Jörg Müller\\venv\\Scripts\\pythonw.exe"
# What sc prints on a German Windows: the names of constants are the same in every language.
QUERIED = """
[SC] QueryServiceConfig ERFOLG

SERVICE_NAME: slmreg
        TYPE               : 10  WIN32_OWN_PROCESS
        START_TYPE         : {start}
        BINARY_PATH_NAME   : "C:\\x\\pythonw.exe" -P -m daemon.service.windows_host
        SERVICE_START_NAME : NT AUTHORITY\\LocalService

SERVICE_NAME: slmreg
        TYPE               : 10  WIN32_OWN_PROCESS
        STATUS             : {state}
                                (STOPPABLE, NOT_PAUSABLE, ACCEPTS_PRESHUTDOWN)
        WIN32_EXIT_CODE    : 0  (0x0)
        PID                : {pid}
        FLAGS              :
"""


def control(environment: str | None = None, former_task: Path | None = None) -> ServiceControl:
    return ServiceControl(Path("C:/ProgramData/slmreg/service"), PYTHON, environment, former_task)


@pytest.fixture
def deployment(make: Make) -> Deployment:
    home = Path("C:/ProgramData/slmreg")
    record = Record((("SLMREG_HOME", str(home)),))
    return make(scope=Scope.SYSTEM, record=record, own_folders=(home,), stop_timeout_s=45.0)


def commands(plan: Plan) -> list[tuple[str, ...]]:
    return [step.arguments for step in plan.steps if isinstance(step, RunCommand)]


def test_it_starts_late_at_boot_as_an_account_without_rights(deployment: Deployment) -> None:
    steps = control().install(deployment).steps
    create, config = (
        step for step in steps if isinstance(step, RunCommand) and step.arguments[1] in ("create", "config")
    )
    assert create.may_fail  # it is there already
    assert not config.may_fail
    assert create.arguments[2:] == config.arguments[2:]
    said = dict(zip(config.arguments[3::2], config.arguments[4::2], strict=True))
    assert said["start="] == "delayed-auto"
    assert said["obj="] == "NT AUTHORITY\\LocalService"
    assert said["binPath="].startswith(f'"{PYTHON}" -P -m daemon.service.windows_host ')


def test_failures_bring_it_back_later_and_later_also_when_it_ends_with_an_error(deployment: Deployment) -> None:
    run = commands(control().install(deployment))
    assert ("sc", "failureflag", "slmreg", "1") in run
    failure = next(command for command in run if command[1] == "failure")
    assert failure[-2:] == ("actions=", "restart/5000/restart/30000/restart/300000")


def test_a_shutdown_of_windows_waits_for_answers_as_long_as_a_stop_does(deployment: Deployment) -> None:
    waits = next(command for command in commands(control().install(deployment)) if "PreshutdownTimeout" in command)
    assert waits == ("reg", "add", KEY, "/v", "PreshutdownTimeout", "/t", "REG_DWORD", "/d", "45000", "/f")


def test_the_manager_starts_the_real_python_which_is_told_of_the_virtual_environment(deployment: Deployment) -> None:
    run = commands(control(environment=VENV).install(deployment))
    assert f"__PYVENV_LAUNCHER__={VENV}" in next(command for command in run if "Environment" in command)
    without = next(command for command in commands(control().install(deployment)) if "Environment" in command)
    assert without[:2] == ("reg", "delete")


def test_its_files_are_for_the_account_and_administrators_alone(deployment: Deployment) -> None:
    granted = [command for command in commands(control().install(deployment)) if command[0] == "icacls"]
    assert [Path(command[1]) for command in granted] == [
        Path("C:/ProgramData/slmreg"),
        Path("C:/ProgramData/slmreg/service"),
    ]
    for command in granted:
        assert command[2:4] == ("/inheritance:r", "/grant:r")
        assert {grant.partition(":")[0] for grant in command[4:]} == {"*S-1-5-19", "*S-1-5-18", "*S-1-5-32-544"}


def test_it_is_started_last_and_not_before_everything_is_said(deployment: Deployment) -> None:
    run = commands(control().install(deployment))
    assert run[-1][0] == "powershell"
    assert "Restart-Service -Name slmreg" in run[-1][-1]


def test_the_task_of_an_earlier_version_makes_room_and_its_settings_stay(
    deployment: Deployment, tmp_path: Path
) -> None:
    folder = tmp_path / "slmreg" / "service"
    earlier = Record((("SLMREG_PORT", "7000"),))
    folder.mkdir(parents=True)
    (folder / "task.xml").write_text(f"<!-- {earlier.line()} -->", encoding="utf-16")
    system = service_system(Scope.SYSTEM, {"PROGRAMDATA": str(tmp_path)}, platform="win32")
    assert read_record(system) == earlier
    assert system.state(1060, "").is_installed
    for plan in (system.install(deployment), system.uninstall()):
        assert ("schtasks", "/delete", "/tn", "slmreg", "/f") in commands(plan)
        assert RemoveFile(folder / "task.xml") in plan.steps
        assert RemoveFile(folder / "launch.json") in plan.steps
    new = next(step for step in system.install(deployment).steps if isinstance(step, WriteFile))
    new.path.write_bytes(new.content)
    (folder / "task.xml").unlink()
    after = service_system(Scope.SYSTEM, {"PROGRAMDATA": str(tmp_path)}, platform="win32")
    assert read_record(after) == deployment.record


def test_a_task_of_a_user_is_not_taken_for_an_earlier_service(deployment: Deployment) -> None:
    for plan in (control().install(deployment), control().uninstall()):
        assert not [command for command in commands(plan) if command[0] == "schtasks"]
    assert not control().state(1060, "[SC] EnumQueryServicesStatus:OpenService FEHLER 1060").is_installed


@pytest.mark.parametrize(
    ("state", "is_active", "pid"),
    [
        ("4  RUNNING", True, 4711),
        ("2  START_PENDING", True, 4711),
        ("3  STOP_PENDING", False, 4711),
        ("1  STOPPED", False, 0),
    ],
)
def test_the_state_is_read_in_any_language(state: str, is_active: bool, pid: int) -> None:
    output = QUERIED.format(start="2   AUTO_START  (DELAYED)", state=state, pid=pid)
    read = control().state(0, output)
    assert (read.is_installed, read.is_enabled, read.is_active, read.pid) == (True, True, is_active, pid or None)
    assert not control().state(0, output.replace("2   AUTO_START", "4   DISABLED")).is_enabled


def test_starting_and_stopping_wait_and_find_nothing_to_do_where_it_is_done() -> None:
    for verb in ("start", "stop", "restart"):
        ((*_, command),) = commands(getattr(control(), verb)(Record()))
        assert command == f"{verb.title()}-Service -Name slmreg -ErrorAction Stop"


def test_uninstalling_stops_it_first_and_what_is_not_there_is_no_failure() -> None:
    stop, delete = (step for step in control().uninstall().steps if isinstance(step, RunCommand))
    assert "Stop-Service" in stop.arguments[-1]
    assert delete.arguments == ("sc", "delete", "slmreg")
    assert stop.may_fail
    assert delete.may_fail


def test_a_path_that_windows_would_change_and_a_socket_are_refused(deployment: Deployment, make: Make) -> None:
    with pytest.raises(ServiceError, match="without %"):
        ServiceControl(Path("C:/x"), "C:\\%TEMP%\\pythonw.exe").install(deployment)
    assert ServiceControl(Path("C:/100% mine"), PYTHON).install(deployment)
    with pytest.raises(ServiceError, match="systemd"):
        control().install(make(record=Record((), is_socket_activated=True)))


def test_the_default_stays_a_task_of_the_user(tmp_path: Path) -> None:
    environment = {"PROGRAMDATA": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    assert isinstance(service_system(Scope.USER, environment, platform="win32"), TaskScheduler)
    assert isinstance(service_system(Scope.SYSTEM, environment, platform="win32"), ServiceControl)


def test_a_virtual_environment_is_named_beside_what_it_was_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    system = service_system(Scope.SYSTEM, {"PROGRAMDATA": "x"}, platform="win32")
    assert isinstance(system, ServiceControl)
    assert (system.python, system.environment) == (sys.executable, None)
    monkeypatch.setattr(sys, "base_prefix", "elsewhere")
    monkeypatch.setattr(sys, "_base_executable", "/base/python", raising=False)
    system = service_system(Scope.SYSTEM, {"PROGRAMDATA": "x"}, platform="win32")
    assert isinstance(system, ServiceControl)
    assert (system.python, system.environment) == (str(Path("/base/python")), sys.executable)


def test_a_folder_that_one_may_not_look_into_holds_no_service_for_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_file", refuse)
    assert here.installed_services({"HOME": "/x", "PROGRAMDATA": "/x"}, platform="win32") == ()
