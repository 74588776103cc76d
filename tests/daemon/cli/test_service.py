"""The commands with a systemctl that only remembers: nothing on this machine changes."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.service import here
from daemon.service.deployment import Scope
from registry.errors import NoServiceSystem, ServiceError
from registry.store import Registry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd")

SYSTEMCTL = """#!/bin/sh
[ "$1" = --version ] && { echo "systemd 255 (255.4)"; exit; }
echo "$@" >> "$ASKED"
case "$*" in
*show*) cat "$ASKED.show" ;;
*"$FAILS"*) echo "no bus"; exit 1 ;;
esac
"""
SHOWN = "LoadState=loaded\nActiveState={0}\nSubState=running\nMainPID=0\nUnitFileState=enabled\nNRestarts=0\n\n"


@dataclass(frozen=True)
class Desk:
    """A user with a home, for whom systemd seems to run."""

    home: Path

    @property
    def unit(self) -> Path:
        return self.home / ".config/systemd/user/slmreg.service"

    @property
    def asked(self) -> list[str]:
        return (self.home / "asked").read_text().splitlines() if (self.home / "asked").exists() else []

    def service(self, *arguments: str, fails: str = "nothing at all", **environment: str) -> Result:
        given = {
            "HOME": str(self.home),
            "PATH": f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "ASKED": str(self.home / "asked"),
            "FAILS": fails,
            **dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "SLMREG_HOME"), None),
            **environment,
        }
        return CliRunner().invoke(main, ["service", *arguments], env=given)

    def is_shown_as(self, state: str) -> None:
        (self.home / "asked.show").write_text(SHOWN.format(state))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(here, "require_running", lambda *_: None)
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    desk = Desk(tmp_path)
    desk.is_shown_as("active")
    return desk


def test_a_dry_run_shows_everything_and_does_nothing(desk: Desk) -> None:
    done = desk.service("install", "--dry-run", "--socket-activation")
    assert done.exit_code == 0, done.stderr
    assert "Type=notify" in done.stdout
    assert "ListenStream=127.0.0.1:7567" in done.stdout
    assert "run systemctl --user restart slmreg.socket" in done.stdout
    assert (desk.asked, sorted(file.name for file in desk.home.iterdir())) == ([], ["asked.show", "bin"])


def test_print_is_the_very_file_that_install_writes(desk: Desk) -> None:
    printed = desk.service("print")
    assert desk.service("install").exit_code == 0
    assert printed.stdout == desk.unit.read_text()


def test_installed_it_is_enabled_and_started_and_its_folders_are_there(desk: Desk) -> None:
    done = desk.service("install")
    assert done.exit_code == 0, done.stderr
    assert desk.asked[-2:] == ["--user enable slmreg.service", "--user restart slmreg.service"]
    assert (desk.home / ".local/share/slmreg").is_dir()
    assert "enable-linger" in done.stderr


def test_installing_again_keeps_what_was_said_the_first_time(desk: Desk) -> None:
    home = desk.home / "sl mö"
    assert desk.service("install", "--socket-activation", SLMREG_HOME=str(home), SLMREG_PORT="8123").exit_code == 0
    before = {file.name: file.read_bytes() for file in desk.unit.parent.iterdir()}
    assert desk.service("install").exit_code == 0
    assert {file.name: file.read_bytes() for file in desk.unit.parent.iterdir()} == before
    assert set(before) == {"slmreg.service", "slmreg.socket"}
    assert b"ListenStream=127.0.0.1:8123" in before["slmreg.socket"]

    assert desk.service("install", "--no-socket-activation").exit_code == 0
    assert [file.name for file in desk.unit.parent.iterdir()] == ["slmreg.service"]
    assert f"SLMREG_HOME={home}" in desk.unit.read_text()


def test_settings_with_which_it_would_not_start_are_not_installed(desk: Desk) -> None:
    done = desk.service("install", SLMREG_PORT="many")
    assert (done.exit_code, desk.asked, desk.unit.exists()) == (1, [], False)
    assert "SLMREG_PORT = 'many'" in done.stderr


def test_a_start_that_fails_is_said_with_where_to_look(desk: Desk) -> None:
    done = desk.service("install", fails="restart slmreg.service")
    assert done.exit_code == 1
    assert "no bus" in done.stderr
    assert "slmreg service logs" in done.stderr


@pytest.mark.parametrize(("verb", "asked"), [("start", "start"), ("stop", "stop"), ("restart", "start")])
def test_an_installed_service_is_controlled_and_no_other(desk: Desk, verb: str, asked: str) -> None:
    done = desk.service(verb)
    assert (done.exit_code, "not installed" in done.stderr) == (1, True)
    assert desk.service("install").exit_code == 0
    assert desk.service(verb).exit_code == 0
    assert desk.asked[-1] == f"--user {asked} slmreg.service"


def test_its_state_is_told_to_people_and_programs(desk: Desk) -> None:
    assert desk.service("install").exit_code == 0
    told = desk.service("status", "--json")
    facts = json.loads(told.stdout)
    assert (told.exit_code, facts["active"], facts["enabled"], facts["file"]) == (0, True, True, str(desk.unit))
    desk.is_shown_as("failed")
    told = desk.service("status")
    assert (told.exit_code, "failed" in told.stdout) == (1, True)


@pytest.mark.parametrize("scope", [(), ("--system",)])
def test_who_asks_for_one_that_is_not_there_is_told_how_to_have_that_one(desk: Desk, scope: tuple[str, ...]) -> None:
    (desk.home / "asked.show").write_text(SHOWN.replace("LoadState=loaded", "LoadState=not-found").format("inactive"))
    told = desk.service("status", *scope)
    assert f"`{' '.join(('slmreg service install', *scope))}`" in told.stderr


def test_uninstalled_it_leaves_models_and_unless_told_otherwise_the_data(desk: Desk) -> None:
    home, model = desk.home / "own", desk.home / "own" / "model"
    for purge, left in (
        ("--keep-data", {"model", "registry.db"}),
        ("--purge", {"model"}),
        ("", {"model", "registry.db"}),
    ):
        assert desk.service("install", SLMREG_HOME=str(home)).exit_code == 0
        Registry.open(home / "registry.db").close()
        (home / "run").mkdir(exist_ok=True)
        model.mkdir(exist_ok=True)
        model.joinpath("model.onnx").touch()
        done = desk.service("uninstall", *filter(None, [purge]))
        assert done.exit_code == 0, done.stderr
        assert not desk.unit.exists()
        assert (f"  {home}\n" in done.stderr, str(home / "run") in done.stderr) == (purge != "--purge", False)
        assert {file.name for file in home.iterdir()} >= left
        assert ("registry.db" in {file.name for file in home.iterdir()}) is ("registry.db" in left)
        assert model.joinpath("model.onnx").exists()


def test_uninstalling_what_is_not_there_is_no_failure(desk: Desk) -> None:
    assert desk.service("uninstall", fails="disable").exit_code == 0


def test_without_a_service_system_there_is_an_exit_code_for_it_and_other_ways(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise NoServiceSystem(f"systemd does not run here.\n{here.alternatives()}")

    monkeypatch.setattr(here, "require_running", nothing)
    done = desk.service("install")
    assert (done.exit_code, desk.unit.exists()) == (3, False)
    assert "@reboot" in done.stderr
    assert desk.service("print").exit_code == 0  # for another machine, or to read


def test_services_of_the_system_are_for_root(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = desk.service("install", "--system")
    assert (done.exit_code, desk.asked) == (1, [])
    assert "sudo" in done.stderr


def test_a_program_that_the_user_of_the_service_cannot_reach_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "private" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.touch()
    here.require_shared_program(Scope.USER, [program])
    program.parent.parent.chmod(0o700)
    with pytest.raises(ServiceError, match=f"{program.parent.parent}, where this slmreg"):
        here.require_shared_program(Scope.SYSTEM, [program])
