"""Runs ``slmreg serve`` for a service system that sets no environment and keeps no output: Windows' task scheduler.

Its one argument is a JSON file: ``{"environment": {"SLMREG_HOME": ...}, "log": PATH}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Kept beside the new one: what the last start but one said is of no use to anybody.
_OLD = ".1"


def serve_hosted(launch: Path) -> None:
    """Does not return before the daemon has ended."""
    said = json.loads(launch.read_text(encoding="utf-8"))
    os.environ.update(said["environment"])
    with output_in(Path(said["log"])):
        from daemon.cli import main

        main(["serve"])


@contextlib.contextmanager
def output_in(log: Path) -> Iterator[None]:
    """What is printed goes there: pythonw.exe, which opens no window, has no output at all."""
    if log.exists():
        log.replace(log.with_name(log.name + _OLD))
    with (
        log.open("w", encoding="utf-8", buffering=1) as output,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        yield


if __name__ == "__main__":
    serve_hosted(Path(sys.argv[1]))
