"""JSON files written by strangers: read with a size limit, and asked for fields with the type they must have.

Whatever is wrong with a file, the only exception that leaves this module is InvalidModelFolder with the code that the
caller gave for this file.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from registry.errors import InvalidModelFolder
from registry.files.listing import is_text
from registry.files.open_file import OpenFile, unreadable
from registry.problems import ProblemCode

# tokenizer_config.json with thousands of added tokens is the largest file read here, at 1-3 MB in published models.
MAX_JSON_BYTES = 16 * 1024**2
# Nothing that is counted here (tokens, layers, heads, bytes of one head) comes near; keeps products within 63 bits.
MAX_INTEGER = 2**40

__all__ = ["MAX_JSON_BYTES", "Fields", "parse_json_object", "parse_text", "read_document", "read_json_object"]
__all__ += ["require_regular", "unreadable"]

_Value = TypeVar("_Value")


class Fields:
    """One JSON object of ``file``. Absent and null are the same; a wrong type raises InvalidModelFolder."""

    def __init__(self, values: Mapping[str, Any], *, file: str, code: ProblemCode, prefix: str = "") -> None:
        self._values = values
        self._file = file
        self._code = code
        self._prefix = prefix

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def raw(self, key: str) -> Any:
        return self._values.get(key)

    def text(self, key: str) -> str | None:
        value = self._typed(key, str, "text")
        if value is not None and not is_text(value):
            raise self.invalid(key, "text without broken characters")
        return value

    def count(self, key: str) -> int | None:
        """A whole number from 0 to MAX_INTEGER."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
            raise self.invalid(key, f"a whole number from 0 to {MAX_INTEGER}")
        return value

    def flag(self, key: str) -> bool:
        return bool(self._typed(key, bool, "true or false"))

    def child(self, key: str) -> Fields:
        """The object under ``key``, empty if there is none."""
        value = self._typed(key, dict, "an object")
        return Fields({} if value is None else value, file=self._file, code=self._code, prefix=f"{self._prefix}{key}.")

    def children(self, key: str) -> tuple[Fields, ...]:
        """The objects in the list under ``key``."""
        items = self._typed(key, list, "a list of objects") or []
        if not all(isinstance(item, dict) for item in items):
            raise self.invalid(key, "a list of objects")
        return tuple(
            Fields(item, file=self._file, code=self._code, prefix=f"{self._prefix}{key}[{index}].")
            for index, item in enumerate(items)
        )

    def invalid(self, key: str, expected: str) -> InvalidModelFolder:
        field = f"{self._prefix}{key}"[:200].encode("utf-8", "backslashreplace").decode()
        shown = repr(self._values.get(key)).encode("utf-8", "backslashreplace").decode()[:60]
        return InvalidModelFolder(
            self._code,
            f"{field} in {self._file} must be {expected}, and is {shown}. "
            "Correct the file, or convert or download the model again.",
            file=self._file,
        )

    def _typed(self, key: str, kind: type[_Value], expected: str) -> _Value | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, kind):
            raise self.invalid(key, expected)
        return value


def read_json_object(path: Path, code: ProblemCode) -> Fields:
    """The object in a JSON file; a UTF-8 byte order mark is allowed. Raises InvalidModelFolder."""
    with OpenFile(path) as file:
        return parse_json_object(read_document(file, path.name, code), path.name, code)


def read_document(file: OpenFile, name: str, code: ProblemCode) -> bytes:
    """The content of a file of at most MAX_JSON_BYTES. Raises InvalidModelFolder."""
    content = file.read_at(0, MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise InvalidModelFolder(
            code, f"{name} is larger than {MAX_JSON_BYTES} bytes, which no such file needs.", file=name
        )
    return content


def parse_json_object(content: bytes, name: str, code: ProblemCode, *, keys_once: bool = False) -> Fields:
    """The object that the file ``name`` holds; ``keys_once`` refuses a key that stands twice in one object.

    Raises InvalidModelFolder.
    """
    text = parse_text(content, name, code)
    try:
        values = json.loads(text, object_pairs_hook=_each_once) if keys_once else json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidModelFolder(
            code, f"{name} is not valid JSON: {reason}. Convert or download the model again.", file=name
        ) from error
    if not isinstance(values, dict):
        raise InvalidModelFolder(
            code, f"{name} must hold one JSON object. Convert or download the model again.", file=name
        )
    return Fields(values, file=name, code=code)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!a:.60} stands twice in one object")
    return values


def parse_text(content: bytes, name: str, code: ProblemCode) -> str:
    """UTF-8 text without its byte order mark. Raises InvalidModelFolder."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidModelFolder(
            code, f"{name} is not UTF-8 text. Convert or download the model again.", file=name
        ) from error


def require_regular(path: Path) -> os.stat_result:
    """The status of a file that can be opened without waiting. Raises InvalidModelFolder for pipes and the like."""
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise InvalidModelFolder(
            ProblemCode.UNREADABLE,
            f"{path.name} is not a regular file. Replace it with the file itself.",
            file=path.name,
        )
    return status
