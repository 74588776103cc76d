"""Everything that must hold before a change is merged: lint, format, types, tests. Extra arguments go to pytest.

The tests run in as many processes as there are cores; ``-n 0`` runs them in one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    # What is shipped runs there, too; a cache of its own, since another platform makes mypy begin anew.
    ("mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32", "registry", "selector", "daemon"),
)
# More than these use more memory than they save time.
MOST_PROCESSES = 8


def main() -> int:
    """Run all checks, also after one has failed, pytest last; 1 if any failed."""
    root = Path(__file__).parent.parent
    failed = []
    for check in (*CHECKS, tests(sys.argv[1:])):
        print(f"+ {' '.join(check)}", flush=True)
        if subprocess.run([sys.executable, "-m", *check], cwd=root, check=False).returncode:
            failed.append(check[0])
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def tests(extra: Sequence[str]) -> tuple[str, ...]:
    """The tests of one file share what they start, so that they stay together; files are begun in their order."""
    return ("pytest", "-n", str(processes()), "--dist", "loadfile", "--no-loadscope-reorder", *extra)


def processes() -> int:
    """One for each core that this process may use: pytest's ``-n auto`` counts two threads of a core as one."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(usable, MOST_PROCESSES)


if __name__ == "__main__":
    sys.exit(main())
