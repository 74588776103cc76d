"""What ``/slmreg`` answers and what the command line prints: the catalog's values in the contract's JSON shapes.

The command line calls this directly when no daemon runs, and through HTTP when one does, so both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from daemon.catalog import Catalog, parse_task
from daemon.shapes import Json, changes_json, model_json, pin_json, problem_json, root_json
from registry.model import Changes, Model, Task
from selector.explain import hardware_as_json, selection_as_json
from selector.selection import SelectionRequest


class Admin:
    """Synchronous; one method per operation of the contract that needs no loaded session."""

    def __init__(
        self,
        catalog: Catalog,
        loaded: Callable[[], Collection[str]] = frozenset,
        scan: Callable[[], Changes] | None = None,
    ) -> None:
        """``loaded``: ids of models in memory. ``scan``: what a scan means where more than the index depends on it."""
        self._catalog = catalog
        self._loaded = loaded
        self._scan = scan or catalog.scan

    def models(self) -> list[Json]:
        """Every known model, also missing and unusable ones, by id."""
        shape = self._shaper()
        return [shape(model) for model in self._catalog.models()]

    def model(self, reference: str) -> Json:
        return self._shaper()(self._catalog.get(reference))

    def problems(self) -> list[Json]:
        """Folders that are not usable models, and what to do about each."""
        return [problem_json(problem) for problem in self._catalog.problems()]

    def scan(self) -> Json:
        return changes_json(self._scan())

    def roots(self) -> list[Json]:
        """Every place that is searched, with how many models and problems lie under it."""
        models = [model.path for model in self._catalog.models(include_missing=False)]
        problems = [problem.path for problem in self._catalog.problems()]
        return [
            root_json(root, models=_count_under(root.path, models), problems=_count_under(root.path, problems))
            for root in self._catalog.roots()
        ]

    def add_root(self, path: str) -> Json:
        return changes_json(self._catalog.add_root(Path(path)))

    def remove_root(self, path: str) -> None:
        self._catalog.remove_root(Path(path))

    def select(self, task: str, *, context_tokens: int | None = None, needs_tools: bool = False) -> Json:
        request = SelectionRequest(parse_task(task), context_tokens=context_tokens, needs_tools=needs_tools)
        return selection_as_json(self._catalog.select(request), self._catalog.hardware())

    def pins(self) -> list[Json]:
        return [pin_json(pin) for pin in self._catalog.pins()]

    def pin(self, task: str, reference: str) -> Json:
        return pin_json(self._catalog.pin(parse_task(task), reference))

    def unpin(self, task: str) -> None:
        self._catalog.unpin(parse_task(task))

    def hardware(self) -> Json:
        return hardware_as_json(self._catalog.hardware())

    def _shaper(self) -> Callable[[Model], Json]:
        loaded = frozenset(self._loaded())
        pinned: dict[str, list[Task]] = {}
        for pin in self._catalog.pins():
            pinned.setdefault(pin.model_id, []).append(pin.task)

        def shape(model: Model) -> Json:
            return model_json(model, loaded=model.id in loaded, pinned_for=pinned.get(model.id, ()))

        return shape


def _count_under(root: Path, paths: list[Path]) -> int:
    return sum(path.is_relative_to(root) for path in paths)
