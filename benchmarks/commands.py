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

# As the shell starts it, under its own name.
_COMPLETE = "import sys; sys.argv[0] = 'slmreg'; from daemon.cli import main; main()"


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

        def run(*arguments: str, **variables: str) -> float:
            command, said = [sys.executable, *arguments], {**environment, **variables}
            return median_s(lambda: subprocess.run(command, env=said, check=True, capture_output=True), rounds)

        bare_s = run("-c", "pass")
        list_s, version_s = (run("-m", "daemon.cli", name) for name in ("list", "--version"))
        offer_s = run("-c", _COMPLETE, COMP_WORDS="slmreg show ", _SLMREG_COMPLETE="bash_complete")
    print(f"slmreg list without a daemon: {list_s:.2f} s; an interpreter that does nothing: {bare_s:.2f} s")
    print(f"slmreg show <TAB>: {offer_s:.2f} s; slmreg --version: {version_s:.2f} s")


if __name__ == "__main__":
    main()
