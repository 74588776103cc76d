"""How much is logged: one level for all of slmreg, and others for some of its parts, also while the daemon runs.

Invariant: other libraries log warnings only, unless one of ``LIBRARIES`` is named: some of them log what they work on.
"""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Mapping
from typing import Literal

ROOT = "slmreg"
# Every logger that our code writes to.
MODULES = (
    ROOT,
    "slmreg.access",
    "slmreg.answers",
    "slmreg.api",
    "slmreg.conversations",
    "slmreg.hardware",
    "slmreg.learner",
    "slmreg.logs",
    "slmreg.machine",
    "slmreg.pool",
    "slmreg.proofs",
    "slmreg.registry",
    "slmreg.settings",
    "slmreg.warm",
    "slmreg.watch",
    "slmreg.worker",
)
# Of other libraries those that never log what they were given to work on, whatever the level.
LIBRARIES = ("alembic", "asyncio", "py.warnings", "uvicorn", "watchdog")
_SHORT = {name.removeprefix(f"{ROOT}."): name for name in MODULES}
_PACKAGES = ("daemon", "registry", "selector")

Level = Literal["debug", "info", "warning", "error"]


def module_named(name: str) -> str:
    """The logger that a person means: "slmreg.pool", "pool", or "daemon.pool" as the code is called.

    Raises ValueError that names what there is.
    """
    package, _, rest = name.partition(".")
    meant = f"{ROOT}.{rest if package in _PACKAGES and rest else name}"
    for known in (name, meant):
        if known in (*MODULES, *LIBRARIES):
            return known
    near = difflib.get_close_matches(name.removeprefix(f"{ROOT}."), _SHORT, n=1)
    hint = f"Did you mean {_SHORT[near[0]]}?" if near else f"There are {', '.join((*MODULES, *LIBRARIES))}."
    raise ValueError(f"nothing logs as {name!r}. {hint}")


class Levels:
    """``level`` counts for everything that is not in ``modules``. Nothing is changed before ``apply``."""

    def __init__(self, level: Level = "info", modules: Mapping[str, Level] | None = None) -> None:
        self._lock = threading.Lock()
        self._level: Level = level
        self._settings: Mapping[str, Level] = modules or {}
        self._changes: dict[str, Level | None] = {}

    def apply(self) -> None:
        """To the loggers of this process."""
        with self._lock:
            others = logging.getLevelNamesMapping()[self._level.upper()]
            logging.getLogger().setLevel(max(others, logging.WARNING))
            own = self._own()
            for name in (*MODULES, *LIBRARIES):
                level = own.get(name, self._level if name == ROOT else None)
                logging.getLogger(name).setLevel(logging.NOTSET if level is None else level.upper())

    def change(self, levels: Mapping[str, Level | None]) -> None:
        """From now on, until the daemon ends; None: again as the settings say. Raises ValueError for unknown names."""
        named = {module_named(name): level for name, level in levels.items()}
        with self._lock:
            self._changes |= named
        self.apply()

    def follow(self, level: Level, modules: Mapping[str, Level]) -> None:
        """The settings have changed; what ``change`` was told still counts first."""
        with self._lock:
            self._level, self._settings = level, modules
        self.apply()

    def in_force(self) -> dict[str, Level]:
        """By logger: that of slmreg as a whole, and those that have their own."""
        with self._lock:
            return {ROOT: self._level, **self._own()}

    def _own(self) -> dict[str, Level]:
        changed = {name: level for name, level in self._changes.items() if level is not None}
        return {**self._settings, **changed}
