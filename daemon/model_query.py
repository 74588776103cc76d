"""Which of the known models somebody wants to see, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from registry.model import ExecutionProvider, Model, Source, Status, Task

if TYPE_CHECKING:
    from daemon.listing import Marks


class SortKey(StrEnum):
    """The keys of a model's JSON that models can be sorted by; a minus is from the largest, or from Z, down."""

    ID = "id"
    ID_DOWN = "-id"
    SIZE = "size_bytes"
    SIZE_DOWN = "-size_bytes"
    PARAMETERS = "parameters"
    PARAMETERS_DOWN = "-parameters"
    CONTEXT = "context_tokens"
    CONTEXT_DOWN = "-context_tokens"


_AMOUNTS: dict[str, Callable[[Model], int | None]] = {
    SortKey.SIZE: lambda model: model.size_bytes,
    SortKey.PARAMETERS: lambda model: model.parameters,
    SortKey.CONTEXT: lambda model: model.context_tokens,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuery:
    """None: whatever it is. ``name`` is a glob for the id, name or alias, in any case."""

    task: Task | None = None
    status: Status | None = None
    execution_provider: ExecutionProvider | None = None
    source: Source | None = None
    name: str | None = None
    is_loaded: bool | None = None
    is_pinned: bool | None = None
    sort: SortKey = SortKey.ID

    def of(self, models: Sequence[Model], marks: Marks) -> list[Model]:
        """Those of ``models``, which are in the order of their ids, that are wanted, as they are wanted.

        What they are sorted by may be unknown: such models come last.
        """
        wanted = [model for model in models if self._wants(model, marks)]
        key = self.sort.removeprefix("-")
        is_down = key != self.sort
        amount = _AMOUNTS.get(key)
        if amount is None:
            return wanted[::-1] if is_down else wanted
        known = [(each, model) for model in wanted if (each := amount(model)) is not None]
        known.sort(key=lambda pair: pair[0], reverse=is_down)
        return [*(model for _, model in known), *(model for model in wanted if amount(model) is None)]

    def _wants(self, model: Model, marks: Marks) -> bool:
        return (
            (self.task is None or self.task in model.tasks)
            and self.status in (None, model.status)
            and self.execution_provider in (None, model.execution_provider)
            and self.source in (None, model.source)
            and (self.name is None or _is_named(model, self.name.lower()))
            and self.is_loaded in (None, model.id in marks.loaded)
            and self.is_pinned in (None, bool(marks.pinned.get(model.id)))
        )


EVERY_MODEL = ModelQuery()


def _is_named(model: Model, glob: str) -> bool:
    return any(fnmatchcase(each.lower(), glob) for each in (model.id, model.name, model.alias))
