"""Which daemon a service runs: with what program, in what environment, on what files.

Invariant: what is installed can be read back from the files of the service themselves (``Record``), so that installing
again keeps what was said the first time, and other commands find the home of a service that is not this shell's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from registry.errors import ServiceError

NAME = "slmreg"
DESCRIPTION = "slmreg: local model registry and selector"
SETTINGS_PREFIX = "SLMREG_"
HOME_VARIABLE = "SLMREG_HOME"
# Where files are looked for; a service would otherwise look elsewhere than the shell that installed it.
_USER_FOLDERS = frozenset({"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"})
LOCATION_VARIABLES = frozenset({"HF_HOME", "HF_HUB_CACHE"}) | _USER_FOLDERS
_PATH_VARIABLES = LOCATION_VARIABLES | {HOME_VARIABLE, "SLMREG_FOUNDRY_CACHES", "SLMREG_HF_CACHE", "SLMREG_SOCKET"}
# Empty, they mean that there are none; other variables are then not set.
_MAY_BE_EMPTY = frozenset({"SLMREG_FOUNDRY_CACHES", "SLMREG_HF_CACHE"})
_RECORD = re.compile(r"slmreg-service: (\{.*\})")


class Scope(StrEnum):
    """Whose service it is."""

    USER = "user"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Record:
    """What a service was installed with."""

    environment: tuple[tuple[str, str], ...] = ()
    is_socket_activated: bool = False

    def line(self) -> str:
        """One line for a comment in any format: ASCII, and without the two dashes that XML does not take there."""
        facts = {"environment": dict(self.environment), "socket_activation": self.is_socket_activated}
        return "slmreg-service: " + json.dumps(facts).replace("-", "\\u002d")

    @classmethod
    def find(cls, text: str) -> Self | None:
        """The record in a file that one of our plans has written."""
        found = _RECORD.search(text)
        try:
            facts: dict[str, Any] = json.loads(found.group(1)) if found is not None else {}
            environment = tuple((str(name), str(value)) for name, value in facts["environment"].items())
            return cls(environment, bool(facts["socket_activation"]))
        except (ValueError, KeyError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Deployment:
    """``program`` is what starts ``slmreg`` in this installation; ``own_folders`` are written by the daemon, ``roots``
    only read; ``address`` is None where the daemon takes any free port.
    """

    scope: Scope
    program: tuple[str, ...]
    record: Record
    own_folders: tuple[Path, ...]
    roots: tuple[Path, ...] = ()
    address: tuple[str, int] | None = ("127.0.0.1", 7567)
    socket: Path | None = None
    stop_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Raises ServiceError for paths that no service file can hold."""
        said = (*self.program, *map(str, self.own_folders), *(value for _, value in self.record.environment))
        for text in said:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ServiceError(
                    f"{os.fsencode(text)!r} is not valid UTF-8, and the service files of this system are. Rename it, "
                    "or choose another folder with SLMREG_HOME."
                ) from error

    @property
    def command(self) -> tuple[str, ...]:
        return (*self.program, "serve")


def kept_environment(
    environment: Mapping[str, str], before: Record | None, scope: Scope
) -> tuple[tuple[str, str], ...]:
    """What the service gets of this shell's environment, over what it had ``before``; relative paths made absolute.

    A system service has a user, and so folders, of its own: of the shell that installs it only SLMREG_* counts. Where
    the folders of a user are is for this shell alone to say: our own are made by it.
    """
    names = LOCATION_VARIABLES if scope is Scope.USER else frozenset()
    said = {
        name: _absolute(value) if name in _PATH_VARIABLES else value
        for name, value in environment.items()
        if (value or name in _MAY_BE_EMPTY) and (name in names or name.startswith(SETTINGS_PREFIX))
    }
    had = dict(before.environment if before is not None else ())
    return tuple(sorted({**{name: had[name] for name in had.keys() - _USER_FOLDERS}, **said}.items()))


def _absolute(paths: str) -> str:
    return os.pathsep.join(str(Path(path).expanduser().absolute()) if path else "" for path in paths.split(os.pathsep))
