from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.service.deployment import Record, Scope
from daemon.service.plan import RunCommand, WriteFile
from daemon.service.systemd import Systemd
from daemon.service.units import quoted, service_unit, socket_unit
from registry.errors import ServiceError
from tests.daemon.service.conftest import STRANGE, Make

NEW, OLD = 255, 247
ACTIVATED = Record((), is_socket_activated=True)


def unescaped(word: str) -> str:
    """What systemd makes of a quoted word, by its manual: quotes, then escapes, then specifiers."""
    assert word[0] == word[-1] == '"'
    return json.loads(word.replace("\\x", "\\u00")).replace("%%", "%")  # type: ignore[no-any-return]


def directives(unit: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("word", [STRANGE, "two words", 'say "hi"', "100%", "tab\tand\nline", "back\\slash", "ü"])
def test_a_quoted_word_is_the_same_word_to_systemd(word: str) -> None:
    assert unescaped(quoted(word)) == word
    assert "\n" not in quoted(word)


def test_a_plain_word_stays_as_people_write_it() -> None:
    assert quoted("/usr/bin/python3.11") == "/usr/bin/python3.11"


def verify(files: tuple[WriteFile, ...], folder: Path, *, is_user: bool) -> str:
    """What systemd's own checker has to say about the files."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    units = []
    for file in files:
        if file.path.suffix in (".service", ".socket"):
            unit = folder / file.path.name
            unit.write_bytes(file.content)
            units.append(str(unit))
    command = ["systemd-analyze", *(["--user"] if is_user else []), "verify", *units]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "SYSTEMD_LOG_LEVEL": "info"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    ours = "\n".join(line for line in said.splitlines() if "slmreg" in line)
    assert done.returncode == 0 or not ours, said
    return ours


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("activated", [False, True])
def test_systemd_finds_nothing_wrong_with_the_units(make: Make, tmp_path: Path, scope: Scope, activated: bool) -> None:
    program = tmp_path / "a b %h" / "python"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    deployment = make(
        scope=scope,
        program=(str(program), "-P", STRANGE),
        record=Record((("SLMREG_HOME", f"/srv/{STRANGE}"),), is_socket_activated=activated),
        own_folders=(Path(f"/srv/{STRANGE}"),),
        socket=Path("/run/user/1/slm reg%.sock"),
    )
    system = Systemd(scope, Path("/units"), OLD, ("video",))
    assert verify(system.files(deployment), tmp_path, is_user=scope is Scope.USER) == ""


def test_a_unit_that_systemd_does_not_understand_is_noticed(make: Make, tmp_path: Path) -> None:
    broken = service_unit(make(program=(sys.executable,)), version=OLD).replace("NoNewPrivileges", "NoSuchThing")
    assert "NoSuchThing" in verify((WriteFile(Path("slmreg.service"), broken.encode()),), tmp_path, is_user=True)


def test_it_is_ready_only_when_it_says_so_and_hung_when_it_does_not(make: Make) -> None:
    unit = service_unit(make(), version=NEW)
    assert directives(unit, "Type") == ["notify"]
    assert int(*directives(unit, "WatchdogSec")) >= 30


def test_a_failing_daemon_comes_back_later_and_later_where_systemd_can_do_that(make: Make) -> None:
    for version, has_steps in ((OLD, False), (NEW, True)):
        unit = service_unit(make(), version=version)
        assert directives(unit, "Restart") == ["on-failure"]
        assert bool(directives(unit, "RestartSteps")) is has_steps
        assert directives(unit, "StartLimitIntervalSec") == ["0"]


def test_a_user_unit_asks_for_nothing_that_needs_capabilities_taken_away(make: Make) -> None:
    unit = service_unit(make(), version=NEW)
    for needs_privileges in ("CapabilityBoundingSet", "ProtectKernelModules", "ProtectKernelLogs", "User"):
        assert directives(unit, needs_privileges) == []


def test_mounts_of_a_user_unit_are_asked_for_where_systemd_needs_that_and_the_kernel_allows_it(make: Make) -> None:
    for version, allowed, said in ((OLD, True, ["yes"]), (OLD, False, []), (NEW, True, []), (NEW, False, [])):
        unit = service_unit(make(), version=version, has_user_namespaces=allowed)
        assert directives(unit, "PrivateUsers") == said
    assert directives(service_unit(make(scope=Scope.SYSTEM), version=OLD), "PrivateUsers") == []


@pytest.mark.parametrize("scope", Scope)
def test_accelerators_stay_in_reach_and_compilers_of_drivers_work(make: Make, scope: Scope) -> None:
    unit = service_unit(make(scope=scope), version=NEW, groups=("render", "video"))
    for hides in ("PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "MemoryDenyWriteExecute"):
        assert directives(unit, hides) == []
    assert directives(unit, "SupplementaryGroups") == (["render video"] if scope is Scope.SYSTEM else [])


def test_only_our_own_folders_can_be_written_and_models_are_read(make: Make) -> None:
    unit = service_unit(make(own_folders=(Path("/srv/a"), Path("/srv/b c"))), version=NEW)
    assert directives(unit, "ReadWritePaths") == ["-/srv/a", '"-/srv/b c"']
    assert (directives(unit, "ProtectSystem"), directives(unit, "ProtectHome")) == (["strict"], ["read-only"])


def test_a_socket_is_made_in_a_folder_that_can_be_written(make: Make) -> None:
    unit = service_unit(make(socket=Path("/run/user/1/slmreg.sock")), version=NEW)
    assert "-/run/user/1" in directives(unit, "ReadWritePaths")


@pytest.mark.parametrize(
    "fields",
    [{"roots": (Path("/tmp/models"),)}, {"own_folders": (Path("/var/tmp/h"),)}, {"socket": Path("/tmp/s")}],  # noqa: S108
)
def test_what_lies_in_tmp_is_seen_and_otherwise_tmp_is_its_own(make: Make, fields: dict[str, object]) -> None:
    assert directives(service_unit(make(), version=NEW), "PrivateTmp") == ["yes"]
    assert directives(service_unit(make(**fields), version=NEW), "PrivateTmp") == []


def test_a_port_of_root_is_a_capability_for_the_service_of_the_system_alone(make: Make) -> None:
    low = service_unit(make(scope=Scope.SYSTEM, address=("127.0.0.1", 80)), version=NEW)
    usual = service_unit(make(scope=Scope.SYSTEM), version=NEW)
    assert directives(low, "CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE"]
    assert directives(usual, "CapabilityBoundingSet") == [""]


@pytest.mark.parametrize(
    ("address", "listens"),
    [
        (("localhost", 7567), "127.0.0.1:7567"),
        (("::1", 80), "[::1]:80"),
        (("0.0.0.0", 1), "0.0.0.0:1"),  # noqa: S104
    ],
)
def test_the_socket_unit_listens_where_the_settings_say(make: Make, address: tuple[str, int], listens: str) -> None:
    unit = socket_unit(make(record=ACTIVATED, address=address, socket=Path("/run/100%")))
    assert directives(unit, "ListenStream") == [listens, "/run/100%%"]


@pytest.mark.parametrize("address", [None, ("some-name", 7567)])
def test_without_a_fixed_address_there_is_no_socket_unit(make: Make, address: tuple[str, int] | None) -> None:
    with pytest.raises(ServiceError, match=r"set (port|host) to"):
        socket_unit(make(record=ACTIVATED, address=address))


def commands(steps: tuple[object, ...]) -> list[str]:
    return [" ".join(step.arguments) for step in steps if isinstance(step, RunCommand)]


def test_installing_starts_it_at_once_or_only_listens(make: Make) -> None:
    system = Systemd(Scope.USER, Path("/units"), NEW)
    at_once = commands(system.install(make()).steps)
    waiting = commands(system.install(make(record=ACTIVATED)).steps)
    assert at_once[0] == waiting[0] == "systemctl --user daemon-reload"
    assert at_once[-1] == "systemctl --user restart slmreg.service"
    assert waiting[-1] == "systemctl --user restart slmreg.socket"
    assert "systemctl --user disable --now slmreg.socket" in at_once
    assert "systemctl --user disable slmreg.service" in waiting


def test_stopping_what_starts_with_a_request_stops_its_socket_too() -> None:
    system = Systemd(Scope.SYSTEM, Path("/units"), NEW)
    assert commands(system.stop(ACTIVATED).steps) == ["systemctl stop slmreg.socket slmreg.service"]
    assert commands(system.stop(Record()).steps) == ["systemctl stop slmreg.service"]


def test_a_user_of_its_own_is_made_for_the_system_and_lingering_explained_to_users(make: Make) -> None:
    plan = Systemd(Scope.SYSTEM, Path("/units"), NEW).install(make(scope=Scope.SYSTEM))
    (sysusers,) = [step for step in plan.steps if isinstance(step, WriteFile) and step.path.suffix == ".conf"]
    assert sysusers.content.startswith(b"u slmreg - ")
    assert any(command.startswith("systemd-sysusers") for command in commands(plan.steps))
    notes = Systemd(Scope.USER, Path("/units"), NEW).install(make()).notes
    assert any("enable-linger" in note for note in notes)


def test_what_is_said_of_that_user_is_what_systemd_sysusers_takes(make: Make, tmp_path: Path) -> None:
    files = Systemd(Scope.SYSTEM, Path("/units"), NEW).files(make(scope=Scope.SYSTEM))
    (sysusers,) = [file for file in files if file.path.suffix == ".conf"]
    (tmp_path / "slmreg.conf").write_bytes(sysusers.content)
    assert b":" not in sysusers.content  # it ends a field of /etc/passwd
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed here")
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(tmp_path / "slmreg.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "valid" in done.stderr) == (0, False), done.stderr


SHOWN = "LoadState=loaded\nActiveState={}\nSubState={}\nMainPID={}\nUnitFileState={}\nNRestarts={}\nStatusText={}\n"


def test_what_systemctl_shows_is_told_in_one_line() -> None:
    system = Systemd(Scope.USER, Path("/units"), NEW)
    running = SHOWN.format("active", "running", 42, "enabled", 3, "Ready") + "\nActiveState=inactive\n"
    state = system.state(0, running)
    assert (state.is_installed, state.is_enabled, state.is_active, state.pid) == (True, True, True, 42)
    assert state.words == "active (running), Ready, restarted 3 times"
    assert system.state(0, running.replace("NRestarts=3", "NRestarts=1")).words.endswith("restarted once")

    waiting = SHOWN.format("inactive", "dead", 0, "indirect", 0, "Finishing answers")
    state = system.state(0, f"{waiting}\nActiveState=active\nUnitFileState=enabled\n")
    assert (state.is_enabled, state.is_active, state.pid) == (True, True, None)
    assert state.words == "starts with the first request"

    nothing = system.state(
        0, "LoadState=not-found\nActiveState=inactive\nSubState=dead\nMainPID=0\n\nLoadState=not-found\n"
    )
    assert (nothing.is_installed, nothing.is_enabled, nothing.is_active) == (False, False, False)
    assert system.state(1, "Failed to connect to bus").is_installed is False
