from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil
import pytest


def leftovers() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("slmreg-*"))


def daemons() -> set[int]:
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(part.startswith("daemon.") for part in process.info["cmdline"] or ())
    }


def demo(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", "demo", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_demo_shows_the_main_job_and_leaves_nothing_behind() -> None:
    files, processes = leftovers(), daemons()
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("demo-chat-generic-cpu:1", "my-finetune:0", "new-arrival:0", "unfinished", "auto is now", "ready"):
        assert shown in done.stdout
    assert leftovers() == files
    assert daemons() <= processes


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_keep_leaves_the_daemon_running() -> None:
    files = leftovers()
    done = demo("--keep")
    (home,) = leftovers() - files
    pid = int(done.stdout.split("(pid ")[-1].split(")")[0])
    try:
        url = done.stdout.split("keeps running at ")[1].split()[0]
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        assert home.joinpath("my-models", "new-arrival", "model.onnx").is_file()
    finally:
        os.kill(pid, signal.SIGTERM)
        psutil.wait_procs([psutil.Process(pid)], timeout=20)
        subprocess.run(["rm", "-r", str(home)], check=True)
