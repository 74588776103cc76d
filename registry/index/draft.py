"""A row while it is decided about: which folders it has, and what that makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from registry.index.identity import declared_id, has_other_content
from registry.index.stored import StoredModel, is_whole
from registry.model import FolderProblem, Model, Problem, Status


@dataclass(slots=True)
class Draft:
    """``folder`` is the model in the row's first folder, None while there is none; ``others`` are by path."""

    before: StoredModel
    folder: Model | None
    others: dict[str, Model] = field(default_factory=dict)

    @classmethod
    def of(cls, row: StoredModel) -> Draft:
        others = {str(other.path): other for other in row.others}
        return cls(row, None if row.is_missing else row.declared, others)

    @property
    def is_whole(self) -> bool:
        return self.folder is not None and is_whole(self.folder)

    def keeps(self, path: str, model: Model) -> bool:
        """Take over what is in a folder of the row now; False, and it is no folder of the row, for other content."""
        if path in self.others:
            if has_other_content(self.others[path], model):
                del self.others[path]
                return False
            self.others[path] = model
            return True
        is_same = not has_other_content(self.before.declared, model)
        self.folder = model if is_same else None
        return is_same

    def loses(self, path: str) -> None:
        if path in self.others:
            del self.others[path]
        else:
            self.folder = None

    def breaks(self, path: str, problem: FolderProblem) -> None:
        """The folder has a problem, so that nobody knows what is in it now."""
        if path in self.others:
            del self.others[path]
        else:
            note = Problem(problem.code, problem.message, problem.file)
            self.folder = replace(self.before.declared, status=problem.status, problems=(note,))

    def strangers(self) -> Iterator[Model]:
        """Takes out the other folders that no longer declare the same id."""
        declared = declared_id(self.folder or self.before.declared)
        for path, other in list(self.others.items()):
            if declared_id(other) != declared:
                yield self.others.pop(path)

    def settle(self) -> None:
        """Let another folder be the first where the first is not usable, or only the demo model's."""
        best = min(self.others.values(), key=lambda other: (other.is_demo, other.path), default=None)
        if best is None:
            return
        first = self.folder
        if first is None or not self.is_whole:
            self.folder = self.others.pop(str(best.path))
        elif first.is_demo and not best.is_demo:
            self.folder = self.others.pop(str(best.path))
            self.others[str(first.path)] = first

    def finished(self, now_s: float) -> StoredModel:
        """The row as it is to be; MISSING since ``now_s`` (Unix time) at the latest if it has no folder left."""
        self.settle()
        before = self.before
        if self.folder is None:
            return replace(
                before,
                declared=replace(before.declared, status=Status.MISSING, problems=()),
                others=(),
                missing_since_s=now_s if before.missing_since_s is None else before.missing_since_s,
            )
        return replace(
            before,
            declared=self.folder,
            others=tuple(sorted(self.others.values(), key=lambda each: each.path)),
            revision=before.revision + has_other_content(before.declared, self.folder),
            missing_since_s=None,
        )
