"""Every model's row in memory, and how to find it: never changed, but followed by the next one at little cost.

Ten thousand models are read from the file once; a write makes what follows from the rows that it changed.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from registry.index.identity import content_key, declared_id, folded, identity_of
from registry.index.stored import StoredModel
from registry.model import Model, Source


class Index:
    """From a text to the keys of the rows that have it; mostly one, which then stands for itself to save memory."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, int | tuple[int, ...]] | None = None) -> None:
        self._keys = keys or {}

    def __getitem__(self, text: str) -> tuple[int, ...]:
        keys = self._keys.get(text, ())
        return (keys,) if isinstance(keys, int) else keys

    def where(self, fits: Callable[[str], object]) -> Iterator[int]:
        """The keys of all texts that fit; one that has two of them comes twice."""
        for text, keys in self._keys.items():
            if fits(text):
                yield from (keys,) if isinstance(keys, int) else keys

    def followed_by(self, gone: Iterable[tuple[str, int]], new: Iterable[tuple[str, int]]) -> Index:
        removed, added = _grouped(gone), _grouped(new)
        keys = dict(self._keys)
        for text in {*removed, *added}:
            out = removed.get(text, ())
            left = (*(key for key in self[text] if key not in out), *added.get(text, ()))
            keys.pop(text, None)
            if left:
                keys[text] = left[0] if len(left) == 1 else left
        return Index(keys)


@dataclass(frozen=True)
class Models:
    """Every row, and how to find it.

    ``at`` leads from each folder where a model is now to its row, ``gone_from`` from the folders where missing ones
    were. ``ids`` are the listed ids without case, ``names`` names and aliases without case.
    """

    rows: Mapping[int, StoredModel] = field(default_factory=dict)
    at: Mapping[str, int] = field(default_factory=dict)
    gone_from: Index = field(default_factory=Index)
    ids: Mapping[str, int] = field(default_factory=dict)
    declared: Index = field(default_factory=Index)
    identities: Index = field(default_factory=Index)
    contents: Index = field(default_factory=Index)
    names: Index = field(default_factory=Index)

    def followed_by(self, changed: Iterable[StoredModel], forgotten: Collection[int] = ()) -> Models:
        """With these rows in place of those with the same keys, and without the forgotten ones."""
        new = tuple(changed)
        old = [self.rows[key] for key in chain((row.key for row in new), forgotten) if key in self.rows]
        rows = {**self.rows, **{row.key: row for row in new}}
        for key in forgotten:
            rows.pop(key, None)
        gone, come = _Entries.of(old), _Entries.of(new)
        return Models(
            rows=rows,
            at=_followed(self.at, gone.at, come.at),
            ids=_followed(self.ids, gone.ids, come.ids),
            gone_from=self.gone_from.followed_by(gone.gone_from, come.gone_from),
            declared=self.declared.followed_by(gone.declared, come.declared),
            identities=self.identities.followed_by(gone.identities, come.identities),
            contents=self.contents.followed_by(gone.contents, come.contents),
            names=self.names.followed_by(gone.names, come.names),
        )

    @property
    def next_key(self) -> int:
        return max(self.rows, default=0) + 1

    def below(self, folder: Path) -> Sequence[str]:
        """The folders with a model that are ``folder`` or lie in it."""
        return below(self._places, folder)

    @cached_property
    def listing(self) -> tuple[Model, ...]:
        """By name without case, then version, oldest first."""
        return tuple(sorted((row.model for row in self.rows.values()), key=_listing_order))

    @cached_property
    def _places(self) -> list[str]:
        return sorted(self.at)


def version_number(model: Model) -> int:
    """0 for a version that is no number: a Hugging Face revision is one by accident only."""
    is_number = model.version.isdecimal() and model.source is not Source.HUGGING_FACE
    return int(model.version) if is_number else 0


def _listing_order(model: Model) -> tuple[str, int, str]:
    return model.name.casefold(), version_number(model), model.id


def below(places: Sequence[str], folder: Path) -> Sequence[str]:
    """Of sorted paths, ``folder`` and those in it.

    These stand together, but apart from the folder itself (``a``, ``a-b``, ``a/b``).
    """
    text = str(folder)
    inside = text if text.endswith(os.sep) else text + os.sep
    first = bisect_left(places, inside)
    found = places[first : bisect_left(places, inside[:-1] + chr(ord(os.sep) + 1), first)]
    own = bisect_left(places, text)
    is_place = text != inside and own < len(places) and places[own] == text
    return [text, *found] if is_place else found


_Pairs = list[tuple[str, int]]


@dataclass(slots=True)
class _Entries:
    """What some rows have in the indexes of ``Models``, under the same names."""

    at: _Pairs = field(default_factory=list)
    gone_from: _Pairs = field(default_factory=list)
    ids: _Pairs = field(default_factory=list)
    declared: _Pairs = field(default_factory=list)
    identities: _Pairs = field(default_factory=list)
    contents: _Pairs = field(default_factory=list)
    names: _Pairs = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[StoredModel]) -> _Entries:
        entries = cls()
        for row in rows:
            entries._add(row, row.key)
        return entries

    def _add(self, row: StoredModel, key: int) -> None:
        declared = declared_id(row.declared)
        content = content_key(row.declared)
        name, alias = folded(row.model.name), folded(row.model.alias)
        self.at.extend((str(model.path), key) for model in row.folders)
        if row.is_missing:
            self.gone_from.append((str(row.path), key))
        self.ids.append((declared if row.duplicate_of is None else folded(row.model.id), key))
        self.declared.append((declared, key))
        self.identities.append((identity_of(declared, content), key))
        self.contents.append((content, key))
        self.names.append((name, key))
        if alias != name:
            self.names.append((alias, key))


def _followed(before: Mapping[str, int], gone: _Pairs, new: _Pairs) -> Mapping[str, int]:
    after = dict(before)
    for text, _key in gone:
        after.pop(text, None)
    after.update(new)
    return after


def _grouped(pairs: Iterable[tuple[str, int]]) -> Mapping[str, list[int]]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for text, key in pairs:
        groups[text].append(key)
    return groups
