"""One run of the benchmark of the daemon's own cost, with a small model whose answers do not end by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_run_prints_what_the_daemon_adds() -> None:
    options = ["--preset", "small", "--models", "5", "--rounds", "1", "--tokens", "16"]
    command = [sys.executable, "-m", "benchmarks.api", *options]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode in (0, 1), done.stderr
    names = ("listing", "one token", "8 streams", "stream left", "whole left", "refused at once", "streams meanwhile")
    for name in names:
        assert name in done.stdout
