"""``PresentSettings``: the one holder of the settings that a running daemon has at the moment.

Invariants: nothing changes a ``Settings``; what asks again gets the newest ones. What takes a restart stays as it was
at the start, whatever the file says by now. Settings that are wrong change nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from daemon.config.effect import Effect, effect_of
from daemon.config.layers import Effective
from daemon.settings import Settings
from registry.errors import SettingsError

log = logging.getLogger("slmreg.settings")

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Names of settings: ``changed`` just now, for whatever begins from now on; ``changed_for_loads``, for models that
    are loaded from now on; and those that ``wait`` for a restart, also from before."""

    changed: tuple[str, ...] = ()
    changed_for_loads: tuple[str, ...] = ()
    wait: tuple[str, ...] = ()


class PresentSettings:
    """Call it for the settings. Safe to use from several threads.

    ``read`` reads them anew; without it they are always those of the start.
    """

    def __init__(self, start: Effective, read: Callable[[], Effective] | None = None) -> None:
        self._present = self._wanted = start
        self._read = read or (lambda: start)
        self._lock = threading.Lock()
        self._followers: list[Callable[[Settings], object]] = []
        self._problem: str | None = None

    def __call__(self) -> Settings:
        return self._present.settings

    @property
    def effective(self) -> Effective:
        """What goes for now, with its origins."""
        return self._present

    @property
    def waiting(self) -> dict[str, Any]:
        """What was read last and takes a restart, by name."""
        wanted = self._wanted.settings
        return {name: getattr(wanted, name) for name in _different(self(), wanted)}

    @property
    def problem(self) -> str | None:
        """Why what was read last does not go for now; None if it does."""
        return self._problem

    def follow(self, follower: Callable[[Settings], object]) -> None:
        """Call ``follower`` with the settings after each change, on the thread that reads them."""
        self._followers.append(follower)

    def reload(self) -> Reloaded:
        """Read anew. Raises SettingsError, and then everything stays as it is."""
        with self._lock:
            before, waited = self(), tuple(self.waiting)
            try:
                wanted = self._read()
            except SettingsError as error:
                self._problem = error.message
                log.error("settings.refused hint='the old ones stay' error=%r", error.message)
                raise
            self._problem = None
            self._wanted, self._present = wanted, _without_restart(self._present, wanted)
        reloaded = _compared(before, self(), tuple(self.waiting))
        if reloaded != Reloaded(wait=waited):
            _say(reloaded)
        if self() is not before:
            for follower in self._followers:
                follower(self())
        return reloaded


class Derived(Generic[Made]):
    """What is made of the settings; made anew, when it is asked for, after these have changed. Any thread."""

    def __init__(self, settings: Callable[[], Settings], make: Callable[[Settings], Made]) -> None:
        self._settings = settings
        self._make = make
        now = settings()
        self._kept = (now, make(now))

    def __call__(self) -> Made:
        made_of, made = self._kept
        now = self._settings()
        if now is not made_of:
            made = self._make(now)
            self._kept = (now, made)
        return made


def _without_restart(present: Effective, wanted: Effective) -> Effective:
    """``wanted``, but for what takes a restart."""
    changed = _different(present.settings, wanted.settings)
    stays = {name for name in Settings.model_fields if effect_of(name) is Effect.RESTART}
    old = {name: getattr(present.settings, name) for name in changed if name in stays}
    origins = {name: origin for name, origin in wanted.origins.items() if name not in stays}
    origins |= {name: origin for name, origin in present.origins.items() if name in stays}
    if old.keys() == set(changed):
        return Effective(present.settings, origins)
    return Effective(wanted.settings.model_copy(update=old), origins)


def _compared(before: Settings, now: Settings, waiting: tuple[str, ...]) -> Reloaded:
    changed = _different(before, now)
    return Reloaded(
        tuple(name for name in changed if effect_of(name) is Effect.NOW),
        tuple(name for name in changed if effect_of(name) is Effect.LOAD),
        waiting,
    )


def _different(one: Settings, other: Settings) -> tuple[str, ...]:
    return tuple(name for name in Settings.model_fields if getattr(one, name) != getattr(other, name))


def _say(reloaded: Reloaded) -> None:
    """Names alone: a value may be nobody else's business."""
    log.info(
        "settings.reloaded now=%s with_next_load=%s",
        ",".join(reloaded.changed) or "-",
        ",".join(reloaded.changed_for_loads) or "-",
    )
    if reloaded.wait:
        log.warning("settings.need_restart names=%s", ",".join(reloaded.wait))
