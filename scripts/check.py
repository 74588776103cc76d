"""Everything that must hold before a change is merged: lint, format, types, tests. Extra arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("pytest",),
)


def main() -> int:
    """Run all checks, also after one has failed, pytest last; 1 if any failed."""
    root = Path(__file__).parent.parent
    failed = []
    for check in CHECKS:
        extra = sys.argv[1:] if check == ("pytest",) else []
        print(f"+ {' '.join(check)}", flush=True)
        if subprocess.run([sys.executable, "-m", *check, *extra], cwd=root, check=False).returncode:
            failed.append(" ".join(check))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
