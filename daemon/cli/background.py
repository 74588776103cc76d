"""A daemon of our own for as long as a command needs one: for ``run`` where none is running, and for ``demo``."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.cli.daemon_link import PING_TIMEOUT_S, RunningDaemon, find_daemon
from daemon.paths import Paths
from registry.errors import DaemonNotRunning

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0  # more than a daemon takes with its default drain_timeout_s
POLL_S = 0.05
LOG_LINES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class BackgroundDaemon:
    """A daemon that answers; whoever started it stops it."""

    running: RunningDaemon
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return self.running.url


@contextlib.contextmanager
def background_daemon(
    environment: Mapping[str, str], log_file: Path, *, timeout_s: float = START_TIMEOUT_S
) -> Iterator[BackgroundDaemon]:
    """A daemon for as long as the context is open. Raises DaemonNotRunning if it does not come up."""
    daemon = start_daemon(environment, log_file, timeout_s=timeout_s)
    try:
        yield daemon
    finally:
        stop_daemon(daemon.process)


def start_daemon(
    environment: Mapping[str, str], log_file: Path, *, timeout_s: float = START_TIMEOUT_S
) -> BackgroundDaemon:
    """Start ``slmreg serve`` on a free port and wait until it is ready, which is after its first scan.

    Raises DaemonNotRunning with the end of its log if it does not come up.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "daemon.cli", "serve", "--port", "0"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in the terminal stops the answer or the command, and the command then stops its daemon.
            start_new_session=os.name != "nt",
        )
    try:
        run_file = Paths.from_environment(environment).run_file
        return BackgroundDaemon(_wait_until_ready(process, run_file, log_file, timeout_s), process)
    except BaseException:
        stop_daemon(process)
        raise


def stop_daemon(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, wait, and insist if need be."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(
    process: subprocess.Popen[bytes], run_file: Path, log_file: Path, timeout_s: float
) -> RunningDaemon:
    import httpx

    deadline_s = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline_s:
        running = find_daemon(run_file)
        if running is not None and running.pid == process.pid:
            with running.client(PING_TIMEOUT_S) as client:
                if client.get("/readyz").status_code == httpx.codes.OK:
                    return running
        time.sleep(POLL_S)
    said = "\n".join(log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:])
    raise DaemonNotRunning(f"The daemon did not start. Its log ({log_file}) ends with:\n{said}")
