"""Which checks there are, and what each of them looks at."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daemon.catalog import Catalog
from daemon.config.layers import load_settings
from daemon.doctor.checks import Check
from daemon.doctor.files import clock_findings, disk_findings, permission_findings, writable_findings
from daemon.doctor.finding import Finding
from daemon.doctor.installation import service_finding, version_findings
from daemon.doctor.machine import hardware_findings, provider_findings
from daemon.doctor.models import doubt_findings, folder_findings, model_findings, pin_findings
from daemon.doctor.registry import database_findings, safety_findings
from daemon.doctor.roots import look_at, root_findings
from daemon.doctor.running import Status, daemon_finding, failure_findings, port_finding, unwritten_findings
from daemon.machine import Machine
from daemon.paths import Paths
from daemon.service.here import installed_services
from daemon.settings import Settings
from daemon.versions import installed_version, requirements_of
from registry.index.database import wal_of
from registry.index.health import examine_database
from registry.index.sidecar import sidecar_of
from registry.model import Status as ModelStatus
from registry.store import Registry
from selector.hardware.power import slow_mode
from selector.hardware.processes import listener_on

_CONNECT_TIMEOUT_S = 1.0
# Whose times are looked at: more say nothing more.
_MOST_CLOCKED = 2000


@dataclass(frozen=True, slots=True)
class Installation:
    """What is examined. ``daemon``: the status of one that runs, with its url."""

    paths: Paths
    machine: Machine
    daemon: Status = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    system: str = sys.platform


def outside_checks(ill: Installation) -> tuple[Check, ...]:
    """What can be seen before anybody opens the registry."""
    paths = ill.paths
    return (
        Check("versions", lambda: version_findings(installed_version, requirements_of)),
        Check("daemon", lambda: (daemon_finding(ill.daemon),)),
        Check("failed models", lambda: failure_findings(ill.daemon)),
        Check("unwritten", lambda: unwritten_findings(ill.daemon)),
        Check("settings", lambda: _settings(ill)),
        Check("service", lambda: (service_finding(installed_services(ill.environment, platform=ill.system)),)),
        Check("machine", lambda: hardware_findings(ill.machine.hardware(), slow_mode=slow_mode())),
        Check(
            "disk",
            lambda: disk_findings({"the registry": paths.database.parent, "the cache": paths.hardware_cache.parent}),
        ),
        Check("home", lambda: writable_findings((paths.database.parent, paths.run_file.parent))),
        Check("permissions", lambda: permission_findings(_private(paths))),
        Check("clock", lambda: clock_findings(_own(paths), time.time())),
        Check("database", lambda: database_findings(examine_database(paths.database))),
    )


def inside_checks(ill: Installation, registry: Registry, catalog: Catalog) -> tuple[Check, ...]:
    """What the registry knows."""
    models = catalog.models()
    folders = [model.path for model in models if model.status is not ModelStatus.MISSING][:_MOST_CLOCKED]
    return (
        Check("recovery", lambda: safety_findings(registry, ill.paths.database)),
        Check("roots", lambda: root_findings(catalog.roots(), models, look_at, ill.daemon)),
        Check("models", lambda: model_findings(models)),
        Check("doubts", lambda: doubt_findings(models)),
        Check("provider", lambda: provider_findings(models, ill.machine.hardware())),
        Check("folders", lambda: folder_findings(catalog.problems(), models)),
        Check("clock", lambda: clock_findings(folders, time.time())),
        Check("pins", lambda: pin_findings(catalog.pins(), catalog.why_not)),
    )


def _settings(ill: Installation) -> Iterator[Finding]:
    """Raises SettingsError for what nobody can work with, which is then what is found."""
    settings = load_settings(ill.paths)
    if ill.daemon is None:
        yield _port(settings, listener_on)


def _port(settings: Settings, owner: Callable[[int], str | None]) -> Finding:
    is_taken = settings.port != 0 and _answers(settings.host, settings.port)
    return port_finding(settings.host, settings.port, is_taken=is_taken, by=owner(settings.port) if is_taken else None)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def _private(paths: Paths) -> tuple[Path, ...]:
    database = paths.database
    return (database, wal_of(database), sidecar_of(database), paths.run_file, paths.conversations)


def _own(paths: Paths) -> tuple[Path, ...]:
    return (*_private(paths), paths.config, paths.hardware_cache)
