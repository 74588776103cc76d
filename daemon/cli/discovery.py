"""Daemons beyond this home: that of a service with a home of its own, of the system, or of another user.

Only what says where a daemon is asks here. Every other command keeps to its own home: to list the models of one
registry and change the pins of another would be worse than to say that no daemon runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.cli.daemon_link import RUN_FILE, RunningDaemon, answering, find_daemon, read_run_file, status_of, url_at
from daemon.paths import Paths
from registry.errors import SlmregError

# Where the service of the system says that it is, which is for everybody to read.
SYSTEM_RUN_FILE = Path("/run/slmreg") / RUN_FILE


@dataclass(frozen=True, slots=True)
class Found:
    """``whose`` says whose it is where it is not this home's; ``facts`` are its status, None where it tells us none."""

    running: RunningDaemon
    facts: dict[str, Any] | None
    whose: str | None = None


def find_any(environment: Mapping[str, str] = os.environ, system_run_file: Path = SYSTEM_RUN_FILE) -> Found | None:
    """The daemon of this home, else that of this user's service, of the system, or at the configured address."""
    paths = Paths.from_environment(environment)
    own = answering(paths.run_file)
    if own is not None:
        return Found(*own)
    for whose, running in _elsewhere(environment, paths, system_run_file):
        facts = status_of(running)
        if facts is not None:
            return Found(running, facts or None, whose)
    return None


def occupant(url: str) -> str:
    """Who listens there, in words, where we wanted to."""
    facts = status_of(RunningDaemon(0, url, ""))
    if facts is None:
        return "another program"
    pid = facts.get("pid")
    if pid is None:
        return "the slmreg of another user or home"
    user = ""
    if sys.platform != "win32":
        with contextlib.suppress(OSError, KeyError):
            user = f", user {Path(f'/proc/{pid}').owner()}"
    return f"the slmreg of another user or home (pid {pid}{user})"


def _elsewhere(environment: Mapping[str, str], own: Paths, system: Path) -> Iterator[tuple[str, RunningDaemon]]:
    from daemon.service.deployment import HOME_VARIABLE, Scope
    from daemon.service.here import read_record, service_system

    with contextlib.suppress(SlmregError):
        record = read_record(service_system(Scope.USER, environment))
        home = dict(record.environment).get(HOME_VARIABLE) if record is not None else None
        of_service = find_daemon(Paths.from_environment({HOME_VARIABLE: home}).run_file) if home else None
        if of_service is not None:
            yield f"your service's, whose home is {home}", of_service
    of_system = read_run_file(system)
    if of_system is not None:
        yield "the system service's", of_system
    from daemon.config.layers import load_settings

    with contextlib.suppress(SlmregError):
        settings = load_settings(own, environment)
        if settings.port:
            yield "another user's, or another home's", RunningDaemon(0, url_at(settings.host, settings.port), "")
