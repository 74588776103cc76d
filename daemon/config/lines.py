"""On which line of a TOML file a key stands; the parsers tell that of a mistake in the syntax only."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str, ...]


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key and each table of a valid file begins."""
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for begins, statement, parsed in _statements(text):
        paths = tuple(_paths(parsed))
        if _is_header(statement):
            table = max(paths, key=len)
            paths = tuple(table[:length] for length in range(1, len(table) + 1))
        else:
            paths = tuple((*table, *path) for path in paths)
        for path in paths:
            found.setdefault(path, begins)
    return found


def end_of_top(text: str) -> int:
    """After how many lines of a valid file one more key that is in no table belongs: above the comment of the first."""
    lines = text.split("\n")
    end = next((begins - 1 for begins, statement, _ in _statements(text) if _is_header(statement)), len(lines))
    while end and lines[end - 1].lstrip().startswith("#") and end < len(lines):
        end -= 1
    while end and not lines[end - 1].strip():
        end -= 1
    return end


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """That of the key, else of the innermost table around it that has one."""
    around = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[each] for each in around if each in lines), None)


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """With the line on which each begins, and what it says by itself. What does not parse goes on in the next line."""
    statement, begins = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        begins = begins if statement else number
        statement += f"{line}\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        yield begins, statement, parsed
        statement = ""


def _is_header(statement: str) -> bool:
    return statement.lstrip().startswith("[")


def _paths(table: dict[str, Any]) -> Iterator[KeyPath]:
    for key, value in table.items():
        yield (key,)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from ((key, *path) for path in _paths(inner))
