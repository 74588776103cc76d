"""Runs ``slmreg serve`` for a service system that sets no environment and keeps no output: Windows' task scheduler.

Its one argument is a JSON file: ``{"environment": {"SLMREG_HOME": ...}, "log": PATH}``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# Kept beside the new one: what the last start but one said is of no use to anybody.
_OLD = ".1"


def serve_hosted(launch: Path) -> None:
    """Does not return before the daemon has ended."""
    said = json.loads(launch.read_text(encoding="utf-8"))
    os.environ.update(said["environment"])
    log = Path(said["log"])
    if log.exists():
        log.replace(log.with_name(log.name + _OLD))
    # pythonw.exe, which opens no window, has no output at all.
    with log.open("w", encoding="utf-8", buffering=1) as output:
        sys.stdout = sys.stderr = output
        from daemon.cli import main

        main(["serve"])


if __name__ == "__main__":
    serve_hosted(Path(sys.argv[1]))
