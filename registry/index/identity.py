"""When are two folders one model, and which of several models with one id has it? Pure.

A model is its declared id (``name:version``, without case) and its content. Where the content is unknown, because an
older slmreg wrote the row, the fingerprint of the files stands in for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from registry.index.stored import StoredModel
from registry.model import Model


def folded(text: str) -> str:
    """``text`` without case: itself where it has none, since there may be thousands."""
    without_case = text.casefold()
    return text if without_case == text else without_case


def declared_id(model: Model) -> str:
    """The id by which models are compared: without case."""
    return folded(model.id)


def content_key(model: Model) -> str:
    """Equal for copies. What a Foundry catalog adds to a fingerprint depends on the place, so it does not count."""
    return model.content or model.fingerprint.partition("-")[0]


def identity_key(model: Model) -> str:
    """Equal for folders that are one model."""
    return identity_of(declared_id(model), content_key(model))


def identity_of(declared: str, content: str) -> str:
    """A short text for a declared id and a content."""
    return hashlib.sha256(f"{declared}\n{content}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def has_other_content(before: Model, after: Model) -> bool:
    """Whether the content is known to differ."""
    if bool(before.content) != bool(after.content):
        return False
    return content_key(before) != content_key(after)


@dataclass(frozen=True, slots=True)
class Ids:
    """What is known about ids while names are given.

    ``before`` are the rows so far by key, ``holder`` the key of the row that has an id so far, ``pinned`` keys.
    """

    before: Mapping[int, StoredModel]
    holder: Mapping[str, int]
    pinned: Collection[int]

    def had(self, row: StoredModel) -> str | None:
        before = self.before.get(row.key)
        return before.model.id.casefold() if before else None


def with_names(
    groups: Mapping[str, Iterable[StoredModel]], ids: Ids, *, is_declared: Callable[[str], bool]
) -> list[StoredModel]:
    """Every row of these groups with the name it is listed by; a group is all the rows that declare one id.

    One row of a group has the plain id: a pinned one that had it, even while it is missing; else one that is present;
    of these the one that had it, then a real model before the demo model, then the first by path. So no copy takes an
    id away from an older or a pinned model. The others get a name of their own and keep it.
    """
    named = []
    given: set[str] = set()
    for group, rows in sorted(groups.items()):
        owner, *others = sorted(rows, key=lambda row: _precedence(row, group, ids))
        named.append(_named(owner, owner.declared.name, None))
        for row in others:
            free = _Free(ids, groups, given, is_declared)
            name = next(name for name in _own_names(row, ids) if free.has(name, row))
            given.add(_id(name, row))
            named.append(_named(row, name, owner))
    return named


def _precedence(row: StoredModel, group: str, ids: Ids) -> tuple[bool, bool, bool, bool, str]:
    had_it = ids.had(row) == group
    return not (had_it and row.key in ids.pinned), row.is_missing, not had_it, row.declared.is_demo, str(row.path)


@dataclass(frozen=True, slots=True)
class _Free:
    ids: Ids
    groups: Mapping[str, Iterable[StoredModel]]
    given: set[str]
    is_declared: Callable[[str], bool]

    def has(self, name: str, row: StoredModel) -> bool:
        wanted = _id(name, row)
        if wanted in self.given or self.is_declared(wanted):
            return False
        holder = self.ids.holder.get(wanted)
        return holder is None or holder == row.key


def _own_names(row: StoredModel, ids: Ids) -> Iterable[str]:
    before = ids.before.get(row.key)
    if before is not None and before.duplicate_of is not None and _declares_the_same(before, row):
        yield before.name
    digest = hashlib.sha256(str(row.path).encode()).hexdigest()
    yield from (f"{row.declared.name}-{digest[:length]}" for length in (4, 8, 16, 64))
    yield f"{row.declared.name}-{digest}-{row.key}"


def _declares_the_same(before: StoredModel, row: StoredModel) -> bool:
    return declared_id(before.declared) == declared_id(row.declared)


def _id(name: str, row: StoredModel) -> str:
    return f"{name}:{row.declared.version}".casefold()


def _named(row: StoredModel, name: str, owner: StoredModel | None) -> StoredModel:
    duplicate_of = owner.path if owner else None
    if row.name == name and row.duplicate_of == duplicate_of:
        return row
    return replace(row, name=name, duplicate_of=duplicate_of)
