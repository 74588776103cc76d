from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from daemon.paths import Paths
from daemon.service.deployment import Record, Scope, kept_environment
from daemon.service.here import (
    has_user_namespaces,
    installed_services,
    own_folders,
    planned_record,
    program,
    read_record,
    require_running,
    service_system,
)
from daemon.service.launchd import Launchd
from daemon.service.systemd import Systemd
from daemon.service.windows import TaskScheduler
from daemon.service.windows_service import ServiceControl
from registry.errors import NoServiceSystem, ServiceError
from tests.daemon.service.conftest import STRANGE, Make


def test_a_record_comes_back_from_any_file_it_was_written_into() -> None:
    record = Record((("SLMREG_HOME", f"/srv/{STRANGE}\n"),), is_socket_activated=True)
    assert record.line().isascii()
    assert "--" not in record.line()
    assert Record.find(f"anything\n# {record.line()} -->\nmore") == record


@pytest.mark.parametrize("text", ["", "slmreg-service: {}", "slmreg-service: {not json}", 'slmreg-service: {"a": 1}'])
def test_a_file_of_somebody_else_has_no_record(text: str) -> None:
    assert Record.find(text) is None


def test_the_service_keeps_what_it_had_unless_this_shell_says_otherwise() -> None:
    before = Record((("SLMREG_PORT", "1000"), ("SLMREG_HOME", "/old")))
    shell = {"SLMREG_PORT": "2000", "PATH": "/bin", "HF_HOME": "/hf", "SLMREG_HF_CACHE": "", "SLMREG_THREADS": ""}
    kept = dict(kept_environment(shell, before, Scope.USER))
    assert kept == {"SLMREG_PORT": "2000", "SLMREG_HOME": "/old", "HF_HOME": "/hf", "SLMREG_HF_CACHE": ""}
    assert "HF_HOME" not in dict(kept_environment(shell, None, Scope.SYSTEM))


def test_relative_paths_are_those_of_the_shell_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    caches = os.pathsep.join(("a", str(tmp_path / "b")))
    kept = dict(kept_environment({"SLMREG_HOME": "home", "SLMREG_FOUNDRY_CACHES": caches}, None, Scope.USER))
    assert kept["SLMREG_HOME"] == str(tmp_path / "home")
    assert kept["SLMREG_FOUNDRY_CACHES"] == os.pathsep.join((str(tmp_path / "a"), str(tmp_path / "b")))


def test_socket_activation_stays_as_it_was_until_it_is_said() -> None:
    before = Record((), is_socket_activated=True)
    for said, expected in ((None, True), (False, False), (True, True)):
        assert planned_record(Scope.USER, {}, before, is_socket_activated=said).is_socket_activated is expected
    assert not planned_record(Scope.USER, {}, None, is_socket_activated=None).is_socket_activated


@pytest.mark.skipif(sys.platform != "linux", reason="systemd")
def test_a_service_of_the_system_has_a_home_of_its_own() -> None:
    record = planned_record(Scope.SYSTEM, {"SLMREG_HOME": "/root/x"}, None, is_socket_activated=None)
    assert dict(record.environment)["SLMREG_HOME"] == "/var/lib/slmreg"


def test_a_path_that_is_no_text_is_refused_with_what_to_do(make: Make) -> None:
    with pytest.raises(ServiceError, match="SLMREG_HOME"):
        make(own_folders=(Path(os.fsdecode(b"/srv/\xff")),))


def test_what_is_installed_is_read_back_from_its_files(make: Make, tmp_path: Path) -> None:
    record = Record((("SLMREG_HOME", f"/srv/{STRANGE}"),))
    task = TaskScheduler(tmp_path / "w", "me")
    for system in (
        Systemd(Scope.USER, tmp_path / "s", 255),
        Launchd(Scope.USER, tmp_path / "l", tmp_path, 1, "me"),
        task,
        ServiceControl(tmp_path / "c", "pythonw.exe"),
    ):
        assert read_record(system) is None
        for file in system.files(make(record=record)):
            file.path.parent.mkdir(exist_ok=True)
            file.path.write_bytes(file.content)
        assert read_record(system) == record


def test_each_platform_has_its_own_and_others_are_told_what_else_there_is(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    for platform, kind in (("linux", Systemd), ("darwin", Launchd), ("win32", TaskScheduler)):
        system = service_system(Scope.USER, environment, platform=platform)
        assert isinstance(system, kind)
        assert system.record_file.is_relative_to(tmp_path)
        assert system.record_file not in installed_services(environment, platform=platform)
        system.record_file.parent.mkdir(parents=True)
        system.record_file.touch()
        assert system.record_file in installed_services(environment, platform=platform)
    assert installed_services(environment, platform="freebsd14") == ()
    with pytest.raises(NoServiceSystem, match="slmreg serve"):
        service_system(Scope.USER, environment, platform="freebsd14")


@pytest.mark.skipif(sys.platform != "linux", reason="systemd")
def test_without_systemd_or_a_session_of_it_the_ways_without_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoServiceSystem, match="@reboot"):
        require_running(Scope.SYSTEM, {}, runs=tmp_path / "none")
    with pytest.raises(NoServiceSystem, match="enable-linger"):
        require_running(Scope.USER, {"XDG_RUNTIME_DIR": str(tmp_path)}, runs=tmp_path)
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    require_running(Scope.USER, {"XDG_RUNTIME_DIR": str(tmp_path)}, runs=tmp_path)


def test_a_kernel_that_forbids_namespaces_is_noticed(tmp_path: Path) -> None:
    assert has_user_namespaces(tmp_path)
    (tmp_path / "kernel").mkdir()
    sysctl = tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns"
    for value, allowed in (("0\n", True), ("1\n", False)):
        sysctl.write_text(value, encoding="ascii")
        assert has_user_namespaces(tmp_path) is allowed


def test_the_folders_that_are_written_are_ours_and_none_is_named_twice(tmp_path: Path) -> None:
    assert own_folders(Paths.from_environment({"SLMREG_HOME": str(tmp_path)})) == (tmp_path,)
    apart = Paths.under(
        config=tmp_path / "c", data=tmp_path / "d", run=tmp_path / "d/run", cache=tmp_path / "e", logs=tmp_path / "f"
    )
    assert own_folders(apart) == (tmp_path / "d", tmp_path / "e", tmp_path / "f")


def test_the_program_is_this_very_installation() -> None:
    assert program()[0] == sys.executable
    assert program()[1:] == ("-P", "-m", "daemon.cli")
