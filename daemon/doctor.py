"""``examine``: everything that is worth knowing about this installation, as findings that say what to do.

Looks and tells; nothing is repaired.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from daemon.catalog import Catalog
from daemon.findings import (
    Finding,
    Level,
    daemon_finding,
    database_findings,
    disk_finding,
    failure_findings,
    folder_findings,
    installed_version,
    model_findings,
    pin_findings,
    root_findings,
    version_finding,
)
from registry.index.health import examine_database
from registry.index.recovery import Recovery, kept_files
from registry.index.schema import backups_of
from registry.index.sidecar import read_sidecar, sidecar_of
from registry.store import Registry

Status = Mapping[str, Any]


def examine_outside(database: Path, daemon: Status | None) -> Iterator[Finding]:
    """What can be seen before anybody opens the registry. ``daemon``: the status of one that runs, with its url."""
    yield version_finding(installed_version)
    yield daemon_finding(daemon)
    yield from failure_findings(daemon)
    yield disk_finding(database.parent)
    yield from database_findings(examine_database(database))


def examine(registry: Registry, catalog: Catalog, database: Path, daemon: Status | None) -> Iterator[Finding]:
    """What the registry knows."""
    yield from _safety_findings(registry, database)
    models = catalog.models()
    yield from root_findings(catalog.roots(), models, _is_readable, daemon)
    yield from model_findings(models)
    yield from folder_findings(catalog.problems(), models)
    yield from pin_findings(catalog.pins(), catalog.why_not)


def _safety_findings(registry: Registry, database: Path) -> Iterator[Finding]:
    if registry.recovered is not None:
        yield Finding(Level.NOTE, "recovery", _told(registry.recovered))
    kept = kept_files(database)
    if kept:
        yield Finding(
            Level.NOTE,
            "damaged files",
            f"{len(kept)} damaged registries were put aside",
            "Delete them when you do not need them any more.",
            tuple(map(str, kept)),
        )
    sidecar = sidecar_of(database)
    if read_sidecar(sidecar, now_s=time.time()) is not None:
        yield Finding(Level.OK, "sidecar", f"{sidecar} keeps what no scan can find again")
    elif registry.pins() or registry.hints() or registry.root_choices() or registry.allowed_libraries():
        yield Finding(
            Level.PROBLEM,
            "sidecar",
            f"{sidecar}, which keeps pins and choices in case the registry is damaged, is not there or not readable",
            "The next change of a pin or a root writes it again; check that the folder is writable.",
        )
    backups = backups_of(database)
    if backups:
        yield Finding(Level.OK, "backups", f"{len(backups)} from before upgrades", None, tuple(map(str, backups)))


def _told(recovery: Recovery) -> str:
    where = f" The damaged file is {recovery.kept}." if recovery.kept is not None else ""
    return (
        f"The registry was damaged ({recovery.reason}) and is made anew.{where} Restored: {recovery.pins} pins, "
        f"{recovery.presets} presets, "
        f"{recovery.roots} roots, {recovery.hints} hints, {recovery.allowed_libraries} allowed libraries, "
        f"{recovery.verifications} full checks, {recovery.api_keys} API keys."
    )


def _is_readable(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return True
    except OSError:
        return False
