"""The registry's own files: whole, and what is kept for the day that they are not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from daemon.doctor.finding import Finding, Level
from registry.index.health import DatabaseHealth
from registry.index.recovery import Recovery, kept_files
from registry.index.schema import backups_of
from registry.index.sidecar import read_sidecar, sidecar_of
from registry.store import Registry
from selector.footprint import format_bytes


def database_findings(health: DatabaseHealth) -> Iterator[Finding]:
    """As the file was before anybody opened it."""
    if health.damage:
        yield Finding(
            Level.PROBLEM,
            "database",
            f"{health.path} is damaged: {health.damage[0]}",
            "The next command that opens it keeps the file aside and makes a new one; then run `slmreg scan`.",
            health.damage,
        )
    elif health.schema is None:
        yield Finding(Level.NOTE, "database", f"There is no registry at {health.path} yet.", "Run `slmreg scan`.")
    else:
        state = "" if health.is_current else ", of another version of slmreg"
        size = format_bytes(health.size_bytes)
        yield Finding(Level.OK, "database", f"{health.path} is whole ({size}, schema {health.schema}{state})")


def safety_findings(registry: Registry, database: Path) -> Iterator[Finding]:
    """What was lost and found again, and what is kept beside the database."""
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
