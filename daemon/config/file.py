"""Changes ``config.toml`` as a person would: comments and order stay. The only owner of tomlkit.

Invariant: the file is replaced whole, by one that was written to the end, for its owner alone.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from daemon.config.keys import OVERRIDES
from daemon.config.layers import Problem, examine_text, read_text
from daemon.config.lines import KeyPath, end_of_top
from daemon.settings import Settings
from registry.errors import SettingsError
from registry.files.replacing import replace_file


@dataclass(frozen=True, slots=True)
class Edited:
    """``problems`` are those that were there before, and still are."""

    text: str
    problems: tuple[Problem, ...]


def with_value(path: Path, key: KeyPath, value: str) -> Edited:
    """The file at ``path`` with ``key`` set to ``value``, which is TOML, or else text or a list with commas.

    Raises SettingsError if it is not usable, or if the file is no TOML.
    """
    before = read_text(path)
    wrong: tuple[Problem, ...] = ()
    is_list = len(key) == 1 and isinstance(Settings.model_fields[key[0]].default, tuple)
    for candidate in _readings(value, is_list=is_list):
        text = _edited(before, path, key, candidate)
        examined = examine_text(text, path, {})
        wrong = tuple(each for each in examined.problems if _is_about(each, key))
        if not wrong:
            return Edited(text, examined.problems)
    raise SettingsError("\n".join(problem.message for problem in wrong))


def without(path: Path, key: KeyPath) -> Edited | None:
    """The file without ``key`` and the tables that are empty then; None if it does not stand there.

    Raises SettingsError if the file is no TOML.
    """
    document = _parsed(read_text(path), path)
    tables: list[Any] = [document]
    for part in key[:-1]:
        if not isinstance(tables[-1].get(part), MutableMapping):
            return None
        tables.append(tables[-1][part])
    if key[-1] not in tables[-1]:
        return None
    del tables[-1][key[-1]]
    for table, part in zip(reversed(tables[:-1]), reversed(key[:-1]), strict=True):
        if not table[part]:
            del table[part]
    text = tomlkit.dumps(document)
    return Edited(text, examine_text(text, path, {}).problems)


def write_private(path: Path, text: str) -> None:
    """Raises SettingsError if it cannot be written; then the old file is still there."""
    target = path.resolve()  # one that is a link stays one
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(target, text)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}. Nothing is changed.") from error


def _readings(value: str, *, is_list: bool) -> Iterator[Any]:
    """What somebody can have meant; a list may be written with commas, as in the environment."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
        yield tomllib.loads(f"value = {value}")["value"]
    items = [] if value.strip().lower() == "none" else [item.strip() for item in value.split(",") if item.strip()]
    yield items if is_list else value


def _edited(before: str, path: Path, key: KeyPath, value: Any) -> str:
    document = _parsed(before, path)
    if len(key) == 1 and key[0] not in document and not isinstance(value, dict):
        # tomlkit would put it between the first table and its comment.
        lines = before.split("\n")
        lines.insert(end_of_top(before), f"{key[0]} = {tomlkit.item(value).as_string()}")
        return "\n".join(lines)
    table: Any = document
    for part in key[:-1]:
        if not isinstance(table.get(part), MutableMapping):
            table[part] = tomlkit.table(is_super_table=part == OVERRIDES)
        table = table[part]
    table[key[-1]] = value
    return tomlkit.dumps(document)


def _parsed(text: str, path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}. `slmreg config edit` corrects it.") from error


def _is_about(problem: Problem, key: KeyPath) -> bool:
    """A problem of the file as a whole concerns everybody."""
    return problem.key is None or problem.key.split(".", maxsplit=1)[0] == key[0]
