"""On which line of a TOML file a key stands; the parsers tell that of a mistake in the syntax only."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str, ...]


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key and each table of a valid file begins.

    One statement is read at a time: what does not parse by itself goes on in the next line.
    """
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement, begins = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        begins = begins if statement else number
        statement += f"{line}\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        paths = tuple(_paths(parsed))
        if statement.lstrip().startswith("["):
            table = max(paths, key=len)
            paths = tuple(table[:length] for length in range(1, len(table) + 1))
        else:
            paths = tuple((*table, *path) for path in paths)
        for path in paths:
            found.setdefault(path, begins)
        statement = ""
    return found


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """That of the key, else of the innermost table around it that has one."""
    around = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[each] for each in around if each in lines), None)


def _paths(table: dict[str, Any]) -> Iterator[KeyPath]:
    for key, value in table.items():
        yield (key,)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from ((key, *path) for path in _paths(inner))
