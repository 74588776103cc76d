"""The folders that are searched for models: there, readable, and quick enough to be watched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.doctor.finding import Finding, Level
from daemon.doctor.running import Status as DaemonStatus
from registry.files.mounts import polling_reason
from registry.model import Model, Root, Status

# A local disk lists a folder in a millisecond.
_SLOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """At a folder: why it cannot be read, if so; how long that took; why its changes go unseen by the system, if so."""

    refused: str | None = None
    seconds: float = 0.0
    polled: str | None = None


def look_at(folder: Path) -> Look:
    begun_s = time.monotonic()
    try:
        with os.scandir(folder):
            pass
        reason = polling_reason(folder.resolve())
    except OSError as error:
        return Look(refused=error.strerror or str(error))
    return Look(seconds=time.monotonic() - begun_s, polled=reason)


def root_findings(
    roots: Iterable[Root], models: Sequence[Model], look: Callable[[Path], Look], daemon: DaemonStatus
) -> Iterator[Finding]:
    """``daemon`` is the status of the one that runs: it knows how each root is watched."""
    watched = {state["path"]: state for state in (daemon or {}).get("watching", ())}
    for root in roots:
        count = sum(model.status is not Status.MISSING and model.path.is_relative_to(root.path) for model in models)
        what = f"{root.path} ({root.source}, {count} models)"
        if not root.is_enabled:
            yield Finding(Level.OK, "root", f"{what} is switched off")
        elif not root.exists:
            yield _absent(root, what)
        else:
            yield _present(what, look(root.path), watched.get(str(root.path)))


def _absent(root: Root, what: str) -> Finding:
    if root.added_by_user:
        return Finding(Level.NOTE, "root", f"{what} is not there now", "Mount it, or `slmreg roots remove` it.")
    return Finding(Level.OK, "root", f"{what} is not there")


def _present(what: str, seen: Look, watched: DaemonStatus) -> Finding:
    if seen.refused is not None:
        return Finding(Level.PROBLEM, "root", f"{what} cannot be read: {seen.refused}", "Check its permissions.")
    if seen.seconds > _SLOW_S:
        return Finding(
            Level.NOTE,
            "root",
            f"{what} is slow: it took {seen.seconds:.1f} s to list",
            "Keep models on a local disk: loading one reads all of it.",
        )
    if watched is not None and watched["method"] != "native":
        reason = f": {watched['reason']}" if watched["reason"] else ""
        return Finding(Level.NOTE, "root", f"{what} is watched by {watched['method']}{reason}")
    if seen.polled is not None:
        return Finding(Level.NOTE, "root", f"{what} has to be looked at again and again: {seen.polled}")
    return Finding(Level.OK, "root", what)
