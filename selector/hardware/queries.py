"""Commands that describe hardware: run with a limit on time, and the slow ones remembered for a day."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

from selector.hardware.cache import HardwareCache

# A command in, its standard output back; None if it is not there, fails, or takes too long.
Query = Callable[[Sequence[str]], str | None]

# nvidia-smi takes 20-300 ms, and several seconds where the driver has to wake up first.
QUERY_TIMEOUT_S = 5.0
# PowerShell and system_profiler take one or two seconds on a machine that is not busy.
SLOW_QUERY_TIMEOUT_S = 15.0
SLOW_PROGRAMS = frozenset({"powershell.exe", "system_profiler", "diskutil"})
# Not on PATH where they are needed: nvidia-smi under the Windows subsystem for Linux, sysctl in a bare environment.
MORE_FOLDERS = ("/usr/lib/wsl/lib", "/usr/sbin", "/sbin")
# 0 outside Windows, where a service would otherwise open a console window for each command.
NO_WINDOW = int(getattr(subprocess, "CREATE_NO_WINDOW", 0))


def run_query(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> str | None:
    """Run ``command`` if its program is there; at most QUERY_TIMEOUT_S, or SLOW_QUERY_TIMEOUT_S for the slow ones."""
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *MORE_FOLDERS))
    program = shutil.which(command[0], path=folders)
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            check=True,
            timeout=SLOW_QUERY_TIMEOUT_S if command[0] in SLOW_PROGRAMS else QUERY_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env=environment,
            creationflags=NO_WINDOW,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout


def remembering(query: Query, cache: HardwareCache) -> Query:
    """``query``, with the answers of slow programs kept in ``cache``. A failure is not an answer."""

    def ask(command: Sequence[str]) -> str | None:
        if command[0] not in SLOW_PROGRAMS:
            return query(command)
        name = f"answer of {' '.join(command)}"
        known = cache.find(name)
        if isinstance(known, str):
            return known
        answer = query(command)
        if answer is not None:
            cache.keep(name, answer)
        return answer

    return ask
