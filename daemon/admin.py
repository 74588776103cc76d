"""What ``/slmreg`` answers and what the command line prints: the catalog's values in the contract's JSON shapes.

The command line calls this directly when no daemon runs, and through HTTP when one does, so both say the same.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.catalog import Catalog, parse_task
from daemon.listing import Listing, Marks, Record, encode
from daemon.shapes import Json, changes_json, model_json, pin_json, problem_json, root_json
from registry.model import Model, Task
from selector.explain import hardware_as_json, selection_as_json
from selector.selection import SelectionRequest

if TYPE_CHECKING:
    from daemon.upkeep import Upkeep


class Admin:
    """Synchronous; one method per operation of the contract that needs no loaded session."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        loaded: Callable[[], Collection[str]] = frozenset,
        upkeep: Upkeep | None = None,
        listing: Listing | None = None,
    ) -> None:
        """In a daemon: ``loaded``, the ids of models in memory; ``upkeep``, which scans and announces what changes."""
        self._catalog = catalog
        self._loaded = loaded
        self._upkeep = upkeep
        self._listing = listing or Listing()

    def models(self) -> list[Json]:
        """Every known model, also missing and unusable ones, by id."""
        marks = self._marks()
        return [_shaped(model, marks) for model in self._catalog.models()]

    def encoded_models(self, *, offset: int = 0, limit: int | None = None) -> tuple[Iterator[list[Record]], int]:
        """A page of ``models`` with each one's JSON encoded, which is much faster for many; and how many there are."""
        models = self._catalog.models()
        return self._listing.records(models, self._marks(), offset=offset, limit=limit), len(models)

    def model(self, reference: str) -> Json:
        return _shaped(self._catalog.get(reference), self._marks())

    def encoded_model(self, reference: str) -> Record:
        model = self._catalog.get(reference)
        return model, encode(_shaped(model, self._marks()))

    def problems(self) -> list[Json]:
        """Folders that are not usable models, and what to do about each."""
        return [problem_json(problem) for problem in self._catalog.problems()]

    def scan(self) -> Json:
        return changes_json((self._upkeep or self._catalog).scan())

    def roots(self) -> list[Json]:
        """Every place where models are looked for, or would be, with how many models and problems lie under it."""
        models = sorted(str(model.path) for model in self._catalog.models(include_missing=False))
        problems = sorted(str(problem.path) for problem in self._catalog.problems())
        watched = {state.path: state for state in self._upkeep.watching()} if self._upkeep is not None else {}
        return [
            root_json(
                root,
                models=_count_under(root.path, models),
                problems=_count_under(root.path, problems),
                watched=watched.get(root.path),
            )
            for root in self._catalog.roots()
        ]

    def add_root(self, path: str, *, settle_s: float | None = None) -> None:
        """Look for models in a folder from the next scan on."""
        self._catalog.add_root(Path(path), settle_s=settle_s)

    def remove_root(self, path: str) -> Json:
        """Look there no more. ``switched_off``: it was found by itself, and is remembered as one not to search."""
        return {"removed": path, "switched_off": not self._catalog.remove_root(Path(path))}

    def select(self, task: str, *, context_tokens: int | None = None, needs_tools: bool = False) -> Json:
        request = SelectionRequest(parse_task(task), context_tokens=context_tokens, needs_tools=needs_tools)
        return selection_as_json(self._catalog.select(request), self._catalog.hardware())

    def pins(self) -> list[Json]:
        return [pin_json(pin) for pin in self._catalog.pins()]

    def pin(self, task: str, reference: str) -> Json:
        pin = self._catalog.pin(parse_task(task), reference)
        self._announce()
        return pin_json(pin)

    def unpin(self, task: str) -> None:
        self._catalog.unpin(parse_task(task))
        self._announce()

    def hardware(self) -> Json:
        return hardware_as_json(self._catalog.hardware_with_disks())

    def _announce(self) -> None:
        if self._upkeep is not None:
            self._upkeep.look()

    def _marks(self) -> Marks:
        pinned: dict[str, list[Task]] = {}
        for pin in self._catalog.pins():
            if not pin.is_waiting:
                pinned.setdefault(pin.model_id, []).append(pin.task)
        return Marks(frozenset(self._loaded()), pinned)


def _shaped(model: Model, marks: Marks) -> Json:
    return model_json(model, loaded=model.id in marks.loaded, pinned_for=marks.pinned.get(model.id, ()))


def _count_under(root: Path, paths: Sequence[str]) -> int:
    """How many of the sorted ``paths`` are ``root`` or lie below it."""
    folder = str(root).rstrip(os.sep) + os.sep
    below = bisect_left(paths, folder[:-1] + chr(ord(os.sep) + 1)) - bisect_left(paths, folder)
    return below + paths.count(str(root))
