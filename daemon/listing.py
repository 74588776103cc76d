"""``Listing``: the JSON of every model, ready to be sent.

Making a model's JSON takes ten times as long as sending it, and hardly any model changes between two requests: it is
made once and kept, compressed in blocks (about 0.15 kB a model instead of 1.5). What does not come from the folder,
whether a model is loaded and what it is pinned for, is put in when it is asked for.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.shapes import Json, marks_json, model_json
from registry.model import Model, Task

# Where a block ends is decided by the name that ends it, so that a new model changes one block and not all after it.
_MEAN_BLOCK = 64
_MAX_BLOCK = 256
_BETWEEN = b"\n"  # encoded JSON has no line break inside


def encode(value: Any) -> bytes:
    """JSON in ASCII, as short as it gets."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


Record = tuple[Model, bytes]
# How the JSON of a model that has no marks ends.
_UNMARKED = encode(marks_json(loaded=False, pinned_for=()))[1:]


@dataclass(frozen=True, slots=True)
class Marks:
    """What is not read from a model's folder: the ids of loaded models, and by id what was measured of models, the
    tasks that they are pinned for, and why they could not be loaded a short while ago."""

    loaded: Collection[str] = ()
    pinned: Mapping[str, Collection[Task]] = field(default_factory=dict)
    measured: Mapping[str, Json] = field(default_factory=dict)
    failures: Mapping[str, Json] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[str]:
        return frozenset((*self.loaded, *self.pinned, *self.measured, *self.failures))

    def put_on(self, record: bytes, model_id: str) -> bytes:
        marks = marks_json(
            loaded=model_id in self.loaded,
            pinned_for=self.pinned.get(model_id, ()),
            measured=self.measured.get(model_id),
            failure=self.failures.get(model_id),
        )
        return record.removesuffix(_UNMARKED) + encode(marks)[1:]


class Listing:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: Sequence[Model] = ()
        self._blocks: tuple[_Block, ...] = ()
        self._version = 0

    def version_of(self, models: Sequence[Model]) -> int:
        """Another number for other models than last time, and never one that was there before."""
        with self._lock:
            self._take(models)
            return self._version

    def refresh(self, models: Sequence[Model]) -> None:
        """Make now what the next request for ``models`` would have to make."""
        self._blocks_of(models)

    def records(
        self, models: Sequence[Model], marks: Marks, *, offset: int = 0, limit: int | None = None
    ) -> Iterator[list[Record]]:
        """``models[offset : offset + limit]``, each with the JSON of its ``model_json``; some dozens at a time.

        What takes time is done before this returns, but for unpacking, which takes under a millisecond for each list.
        """
        blocks = self._blocks_of(models)
        end = len(models) if limit is None else offset + limit
        return _records(blocks, marks, offset, end)

    def _blocks_of(self, models: Sequence[Model]) -> tuple[_Block, ...]:
        with self._lock:
            self._take(models)
            return self._blocks

    def _take(self, models: Sequence[Model]) -> None:
        if models is not self._models:
            known = {block.models[0].id: block for block in self._blocks}
            self._blocks = tuple(_block(part, known.get(part[0].id)) for part in _parts(models))
            self._models = models
            self._version += 1


@dataclass(frozen=True, slots=True)
class _Block:
    models: tuple[Model, ...]
    packed: bytes

    def records(self, part: slice) -> Iterator[Record]:
        return zip(self.models[part], zlib.decompress(self.packed).split(_BETWEEN)[part], strict=True)


def _records(blocks: Sequence[_Block], marks: Marks, offset: int, end: int) -> Iterator[list[Record]]:
    marked = marks.ids
    start = 0
    for block in blocks:
        part = slice(max(0, offset - start), max(0, end - start))
        start += len(block.models)
        if part.start >= min(part.stop, len(block.models)):
            continue
        if marked:
            yield [
                (model, marks.put_on(record, model.id) if model.id in marked else record)
                for model, record in block.records(part)
            ]
        else:
            yield list(block.records(part))


def _block(models: tuple[Model, ...], known: _Block | None) -> _Block:
    if known is not None and known.models == models:
        return known
    return _Block(models, zlib.compress(_BETWEEN.join(encode(model_json(model)) for model in models), 1))


def _parts(models: Sequence[Model]) -> Iterator[tuple[Model, ...]]:
    part: list[Model] = []
    for model in models:
        part.append(model)
        if zlib.crc32(model.name.encode()) % _MEAN_BLOCK == 0 or len(part) == _MAX_BLOCK:
            yield tuple(part)
            part = []
    if part:
        yield tuple(part)
