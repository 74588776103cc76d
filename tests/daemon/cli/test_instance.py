from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli.instance import sole_instance
from registry.errors import DaemonAlreadyRunning, SettingsError

HOLDER = """
import sys, pathlib
from daemon.cli.instance import sole_instance
with sole_instance(pathlib.Path(sys.argv[1])) as instance:
    if sys.argv[2]:
        instance.is_at(sys.argv[2])
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "daemon.json"


def holder(run_file: Path, url: str = "") -> subprocess.Popen[str]:
    """Another process that has the lock."""
    command = [sys.executable, "-c", HOLDER, str(run_file), url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(
    ("url", "match"),
    [("http://127.0.0.1:9", "runs at http://127.0.0.1:9 .pid {pid}.*not answer"), ("", "starting.*{pid}")],
)
def test_a_second_one_is_told_who_holds_the_home(run_file: Path, url: str, match: str) -> None:
    with holder(run_file, url) as process:
        with pytest.raises(DaemonAlreadyRunning, match=match.format(pid=process.pid)), sole_instance(run_file):
            pass
        process.communicate()
    with sole_instance(run_file):  # it has ended
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_what_a_killed_one_has_left_behind_is_no_obstacle(run_file: Path) -> None:
    with holder(run_file, "http://127.0.0.1:9") as process:
        process.kill()
        process.communicate()
    assert "9" in run_file.with_suffix(".lock").read_text(encoding="utf-8")
    with sole_instance(run_file):
        pass


def test_processes_that_we_start_do_not_hold_it_after_us(run_file: Path) -> None:
    with sole_instance(run_file):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child, sole_instance(run_file):
        child.communicate(b"\n")


def test_one_that_says_nothing_yet_is_just_starting(run_file: Path) -> None:
    with sole_instance(run_file) as ours:
        os.ftruncate(ours.descriptor, 0)
        with pytest.raises(DaemonAlreadyRunning, match="just starting"), sole_instance(run_file):
            pass


def test_a_home_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    in_a_file = sole_instance(tmp_path / "file" / "daemon.json")
    with pytest.raises(SettingsError, match=r"daemon\.lock cannot be written.*SLMREG_HOME"), in_a_file:
        pass
