from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

# Where a process puts what is temporary; what the demo starts inherits it, and is told from other processes by it.
PLACES = ("TMPDIR", "TEMP", "TMP")


def daemons(place: Path) -> set[int]:
    """The processes that a demo has started whose temporary files are in ``place``."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(place):
                found.add(process.pid)
    return found


def demo(place: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", "demo", *flags]
    environment = {**os.environ, **dict.fromkeys(PLACES, str(place))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_demo_shows_the_main_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("demo-chat-generic-cpu:1", "my-finetune:0", "new-arrival:0", "unfinished", "auto is now", "ready"):
        assert shown in done.stdout
    assert list(tmp_path.glob("slmreg-*")) == []
    assert daemons(tmp_path) == set()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_keep_leaves_the_daemon_running(tmp_path: Path) -> None:
    done = demo(tmp_path, "--keep")
    (home,) = tmp_path.glob("slmreg-*")
    pid = int(done.stdout.split("(pid ")[-1].split(")")[0])
    try:
        url = done.stdout.split("keeps running at ")[1].split()[0]
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        assert home.joinpath("my-models", "new-arrival", "model.onnx").is_file()
        assert pid in daemons(tmp_path)
    finally:
        os.kill(pid, signal.SIGTERM)
        psutil.wait_procs([psutil.Process(pid)], timeout=20)
