"""The host of the service with the real daemon, and with a service control manager that is not Windows'."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from daemon.cli.daemon_link import read_run_file
from daemon.paths import Paths
from daemon.service.controls import Control, Status
from daemon.service.deployment import Record

ROOT = Path(__file__).parents[3]
ACCEPTED = 0x1 | 0x4 | 0x8 | 0x100
Host = subprocess.Popen[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "hö me"


@pytest.fixture
def host(home: Path, tmp_path: Path) -> Iterator[Host]:
    """Of a service whose settings are those of its file."""
    alone = {"SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": "", "SLMREG_PORT": "0"}
    record = Record(tuple({**alone, "SLMREG_HOME": str(home)}.items()))
    installed = tmp_path / "service.txt"
    installed.write_text(f"# {record.line()}\n", encoding="utf-8")
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent / "pywin32")))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "daemon.service.windows_host", str(installed)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.kill()


def tell(host: Host, *lines: object) -> None:
    assert host.stdin is not None
    host.stdin.write("".join(f"{line}\n" for line in lines))
    host.stdin.flush()


def reports(host: Host) -> Iterator[tuple[str, ...]]:
    assert host.stdout is not None
    for line in host.stdout:
        yield tuple(line.split())


def test_the_service_runs_when_the_daemon_answers_and_ends_as_it_does(host: Host, home: Path, tmp_path: Path) -> None:
    tell(host, "connected")
    said = reports(host)
    seen = [next(said)[:2]]
    while seen[-1][0] == str(int(Status.START_PENDING)):
        seen.append(next(said)[:2])
    assert seen[0] == (str(int(Status.START_PENDING)), "0")
    assert seen[-1] == (str(int(Status.RUNNING)), str(ACCEPTED))
    run_file = Paths.from_environment({"SLMREG_HOME": str(home)}).run_file
    running = read_run_file(run_file)
    assert running is not None
    assert running.pid == host.pid
    assert httpx.get(f"{running.url}/readyz", timeout=30).status_code == httpx.codes.OK
    tell(host, int(Control.PRESHUTDOWN), int(Control.STOP))
    rest = list(said)
    assert {report[0] for report in rest[:-1]} == {str(int(Status.STOP_PENDING))}
    assert rest[-1] == ("STOPPED", "0")
    assert host.wait(60) == 0
    assert "daemon.ready" in (tmp_path / "service.log").read_text(encoding="utf-8")
    assert not run_file.exists()


def test_what_could_not_start_is_an_error_for_the_manager_and_said_in_the_log(
    host: Host, home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    (home / "config.toml").write_text("log_level = 'loud'\n", encoding="utf-8")
    tell(host, "connected")
    assert list(reports(host))[-1] == ("STOPPED", "1066")
    assert host.wait(60) == 1
    assert "log_level" in (tmp_path / "service.log").read_text(encoding="utf-8")


def test_started_by_hand_it_says_so_and_ends(host: Host, home: Path, tmp_path: Path) -> None:
    assert host.stdin is not None
    host.stdin.close()
    assert host.wait(60) == 1
    assert "connect failed" in (tmp_path / "service.log").read_text(encoding="utf-8")
    assert not home.exists()
