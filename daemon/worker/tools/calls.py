"""The calls of one answer, put together piece by piece."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from daemon.pool.protocol import ToolCallDelta
from daemon.surrogates import without_surrogates


class Calls:
    """What readers have found so far.

    ``schemas`` are the parameters of the offered tools by name. Once ``most`` calls are whole, ``is_full``.
    """

    def __init__(self, schemas: Mapping[str, Mapping[str, Any]], *, most: int | None = None) -> None:
        self.schemas = schemas
        self._most = most
        self._pieces: list[ToolCallDelta] = []
        self._begun = 0
        self._whole = 0

    @property
    def names(self) -> Collection[str]:
        """Those of the offered tools."""
        return self.schemas.keys()

    @property
    def has_any(self) -> bool:
        return self._begun > 0

    @property
    def is_full(self) -> bool:
        return self._most is not None and self._whole >= self._most

    def begin(self, name: str) -> None:
        self._pieces.append(ToolCallDelta(index=self._begun, name=without_surrogates(name)))
        self._begun += 1

    def add(self, arguments: str) -> None:
        """More of the arguments of the call that was begun last."""
        if arguments:
            self._pieces.append(ToolCallDelta(index=self._begun - 1, arguments=without_surrogates(arguments)))

    def end(self) -> None:
        self._whole += 1

    def whole(self, name: str, arguments: Mapping[str, Any]) -> None:
        """A call that is known at once."""
        self.begin(name)
        self.add(json.dumps(arguments, ensure_ascii=False))
        self.end()

    def take(self) -> list[ToolCallDelta]:
        """What came since the last time, with one piece at most for each call."""
        merged: dict[int, ToolCallDelta] = {}
        for piece in self._pieces:
            before = merged.get(piece.index, ToolCallDelta(index=piece.index))
            merged[piece.index] = ToolCallDelta(
                index=piece.index,
                name=piece.name if piece.name is not None else before.name,
                arguments=before.arguments + piece.arguments,
            )
        self._pieces.clear()
        return list(merged.values())
