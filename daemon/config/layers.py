"""The settings of one moment, and where each value was said: default < ``config.toml`` < ``SLMREG_*`` < flag."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config.lines import KeyPath, line_of, lines_of
from daemon.model_overrides import ModelOverride
from daemon.paths import Paths
from daemon.settings import ENV_PREFIX, LOCATION_VARIABLES, Settings
from registry.errors import SettingsError

# A thousand times what anybody writes by hand.
MAX_FILE_BYTES = 256 * 1024
# Of a wrong value, in an error message.
_MAX_SHOWN = 100
_TOML_LINE = re.compile(r"at line (\d+)")


class OriginKind(StrEnum):
    DEFAULT = "default"
    FILE = "config.toml"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Origin:
    """``where`` is the variable, the flag, or the file with the line; None for a default."""

    kind: OriginKind = OriginKind.DEFAULT
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings as they are; what is not in ``origins`` is a default."""

    settings: Settings
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """``key`` is None for a file that cannot be read at all, ``line`` for what stands in no file."""

    message: str
    key: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """What all layers together say; ``effective`` is None if there are ``problems``."""

    effective: Effective | None
    problems: tuple[Problem, ...] = ()


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def load_settings(
    paths: Paths, environment: Mapping[str, str] = os.environ, flags: Mapping[str, Any] | None = None
) -> Settings:
    """The effective settings; see ``load_effective``."""
    return load_effective(paths, environment, flags).settings


def load_effective(
    paths: Paths, environment: Mapping[str, str] = os.environ, flags: Mapping[str, Any] | None = None
) -> Effective:
    """The effective settings and where they are from. ``flags`` with the value None are not given.

    Raises SettingsError naming file and line or variable, the key and what is wrong with it.
    """
    examined = examine(paths, environment, flags)
    if examined.effective is None:
        raise SettingsError("\n".join(problem.message for problem in examined.problems))
    return examined.effective


def examine(
    paths: Paths, environment: Mapping[str, str] = os.environ, flags: Mapping[str, Any] | None = None
) -> Examined:
    """``load_effective`` that tells of every problem instead of raising."""
    try:
        return examine_text(_read(paths.config), paths.config, environment, flags)
    except _Unreadable as error:
        return Examined(None, (error.problem,))


def examine_text(
    text: str, path: Path, environment: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Examined:
    """As if ``text`` stood in the file ``path``."""
    try:
        in_file, lines = _parsed(text, path)
    except _Unreadable as error:
        return Examined(None, (error.problem,))
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for kind, given in (
        (OriginKind.FILE, in_file),
        (OriginKind.ENVIRONMENT, _from_environment(environment)),
        (OriginKind.FLAG, {key: value for key, value in (flags or {}).items() if value is not None}),
    ):
        values |= given
        origins |= {key: Origin(kind, _where(kind, key, path, lines)) for key in given}
    try:
        return Examined(Effective(Settings.model_validate(values), origins))
    except ValidationError as error:
        problems = (_explained(each, origins, path, lines) for each in error.errors())
        return Examined(None, tuple(sorted(problems, key=lambda problem: problem.line or 0)))


def read_text(path: Path) -> str:
    """What stands in the file, "" if there is none. Raises SettingsError."""
    try:
        return _read(path)
    except _Unreadable as error:
        raise SettingsError(error.problem.message) from error


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _Unreadable(Problem(f"{path} cannot be read: {error.strerror}. Check its permissions.")) from error
    if len(raw) > MAX_FILE_BYTES:
        raise _Unreadable(Problem(f"{path} has more than {MAX_FILE_BYTES} bytes, which no settings need. Is it that?"))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = f"{path}:{line}: this is not UTF-8 (byte {raw[error.start]:#04x}). Save the file as UTF-8."
        raise _Unreadable(Problem(message, line=line)) from error


def _parsed(text: str, path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        return tomllib.loads(text), lines_of(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _TOML_LINE.search(str(error))
        line = int(found[1]) if found else None
        where = f"{path}:{line}" if line is not None else str(path)
        message = f"{where} is not valid TOML: {error}. Correct that line or remove the file."
        raise _Unreadable(Problem(message, line=line)) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """SLMREG_* as settings; pydantic turns the strings into numbers. An empty value counts as not set."""
    return {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENV_PREFIX) and name not in LOCATION_VARIABLES and value != ""
    }


def _where(kind: OriginKind, key: str, path: Path, lines: dict[KeyPath, int]) -> str:
    if kind is OriginKind.FILE:
        return f"{path}:{line_of(lines, (key,))}"
    return f"{ENV_PREFIX}{key.upper()}" if kind is OriginKind.ENVIRONMENT else f"--{key.replace('_', '-')}"


def _explained(problem: Any, origins: Mapping[str, Origin], path: Path, lines: dict[KeyPath, int]) -> Problem:
    location = tuple(str(part) for part in problem["loc"])
    origin = origins.get(location[0], Origin())
    line = line_of(lines, location) if origin.kind is OriginKind.FILE else None
    source = {
        OriginKind.FILE: f"{path}:{line}",
        OriginKind.ENVIRONMENT: "environment",
        OriginKind.FLAG: "command line",
    }.get(origin.kind, "settings")
    key = ".".join(location)
    name = f"{ENV_PREFIX}{key.upper()}" if origin.kind is OriginKind.ENVIRONMENT else key
    if problem["type"] == "extra_forbidden":
        return Problem(f"{source}: there is no setting {name}.{_hint(location)}", key, line)
    reason = str(problem["msg"]).removeprefix("Value error, ")
    value = repr(problem["input"])
    shown = value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}..."
    return Problem(f"{source}: {name} = {shown} is not usable: {reason}.", key, line)


def _hint(location: KeyPath) -> str:
    """The name that was probably meant, among those that may stand there."""
    known = Settings.model_fields if len(location) == 1 else ModelOverride.model_fields
    near = difflib.get_close_matches(location[-1], known, n=1)
    if near:
        return f" Did you mean {'.'.join((*location[:-1], near[0]))}?"
    return " `slmreg config example` has every setting." if len(location) == 1 else f" There are {', '.join(known)}."
