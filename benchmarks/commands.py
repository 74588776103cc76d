"""What a command costs without a daemon, against an interpreter that does nothing.

python -m benchmarks.commands [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable


def median_s(work: Callable[[], object], rounds: int) -> float:
    """Median seconds of ``work``; the first call only warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as home:
        environment = {**os.environ, "SLMREG_HOME": home, "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}

        def run(*arguments: str) -> float:
            command = [sys.executable, *arguments]
            return median_s(lambda: subprocess.run(command, env=environment, check=True, capture_output=True), rounds)

        bare_s, list_s = run("-c", "pass"), run("-m", "daemon.cli", "list")
    print(f"slmreg list without a daemon: {list_s:.2f} s; an interpreter that does nothing: {bare_s:.2f} s")


if __name__ == "__main__":
    main()
