"""Which row does each folder of a scan belong to? The rules stand in ``registry.index.reconcile``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from registry.index.draft import Draft
from registry.index.identity import content_key, declared_id, has_other_content, identity_key
from registry.index.state import State
from registry.index.stored import StoredModel
from registry.model import Model, ScanReport

# To look for the one that was renamed among thousands of rows with one content costs more than it gives.
_MAX_TWINS = 64
# A watcher tells the two halves of a rename apart by what each folder takes to settle (1 s unless a person wants more)
# and by what looking at the first takes; later than this, equal content under another id is a coincidence.
RENAMED_WITHIN_S = 60.0


class Matching:
    """Finds the row of each folder. ``drafts`` are the rows that it touches, ``merged`` those that became others."""

    def __init__(self, state: State, report: ScanReport, now_s: float, is_there: Callable[[Path], bool]) -> None:
        self.drafts: dict[int, Draft] = {}
        self.merged: set[int] = set()
        self._state = state
        self._models = state.models
        self._pinned = state.pinned_keys
        self._report = report
        self._now_s = now_s
        self._is_there = is_there
        self._next_key = state.models.next_key
        self._unchanged = {str(path) for path in report.unchanged}
        self._newcomers: list[Model] = []
        self._here: dict[str, int] = {}  # identity -> key, of drafts that are whole
        self._held: dict[str, bool] = {}  # content -> whether a model held on to it, before any was renamed

    def run(self) -> None:
        self._look_at_known_folders()
        self._merge()
        left = sorted(self._newcomers, key=lambda model: (model.is_demo, model.path))
        steps = (
            self._returned,
            self._moved,
            self._renamed,
            self._revised_in_place,
            self._revised_elsewhere,
            self._added,
        )
        for find in steps:
            left = [model for model in left if not (self._joined(model) or find(model))]

    # -- known folders

    def _look_at_known_folders(self) -> None:
        at, report = self._models.at, self._report
        found = {str(model.path): model for model in report.models}
        broken = {str(each.path): each for each in report.problems if str(each.path) not in found}
        for path, model in found.items():
            if path not in at or not self._draft(at[path]).keeps(path, model):
                self._newcomers.append(model)
        for path, problem in broken.items():
            # Somebody puts back what is missing; where the problem stood before, that was looked at then.
            left = () if path in self._state.problems else self._models.gone_from[path]
            key = at.get(path) or self._latest(left)
            if key is not None:
                self._draft(key).breaks(path, problem)
        covered = set(chain.from_iterable(self._models.below(folder) for folder in report.covered))
        for path in covered - self._unchanged - found.keys() - broken.keys():
            self._draft(at[path]).loses(path)
        for draft in self.drafts.values():
            self._newcomers.extend(draft.strangers())
            draft.settle()

    def _merge(self) -> None:
        """Rows that turn out to be one model, such as two of an older slmreg that did not read content.

        One that is pinned stays; two that are pinned both do.
        """
        for key in sorted(self.drafts, key=lambda key: (key not in self._pinned, key)):
            folder = self.drafts[key].folder
            if folder is None or not self.drafts[key].is_whole:
                continue
            twin = self._present(folder)
            self._here.setdefault(identity_key(folder), key)
            if twin is not None and key not in self._pinned:
                self._absorb(key, into=twin)
            elif twin is not None and twin not in self._pinned:
                self._absorb(twin, into=key)

    def _absorb(self, key: int, *, into: int) -> None:
        gone = self._draft(key)
        folders = (*([gone.folder] if gone.folder else []), *gone.others.values())
        self._draft(into).others.update((str(folder.path), folder) for folder in folders)
        self._here[identity_key(folders[0])] = into
        self.merged.add(key)
        del self.drafts[key]

    # -- new folders, and known ones that hold something else

    def _joined(self, model: Model) -> bool:
        key = self._present(model)
        if key is not None:
            self._draft(key).others[str(model.path)] = model
        return key is not None

    def _returned(self, model: Model) -> bool:
        """To the folder where it was, whoever else has the same content."""
        keys = () if self._is_known(model) else self._models.gone_from[str(model.path)]
        return self._take(model, [key for key in keys if self._is_free(key) and self._has_same_content(key, model)])

    def _moved(self, model: Model) -> bool:
        keys = self._models.identities[identity_key(model)]
        return self._take(
            model, self._went_away(model, (key for key in keys if self._is_free(key, is_broken_too=True)))
        )

    def _renamed(self, model: Model) -> bool:
        """Moved, and with another id: it is named after its folder. Otherwise it is a copy of what is gone."""
        content = content_key(model)
        twins = self._models.contents[content][:_MAX_TWINS]
        free = self._went_away(model, (key for key in twins if self._is_just_gone(key) and self._is_free(key)))
        return bool(free) and not self._is_held(content) and self._take(model, free)

    def _is_just_gone(self, key: int) -> bool:
        """If it is gone at all: with this very report, or a moment ago."""
        since_s = self._models.rows[key].missing_since_s
        return since_s is None or abs(self._now_s - since_s) <= RENAMED_WITHIN_S

    def _is_held(self, content: str) -> bool:
        """Whether a model with this content is in a folder, so that a new folder may as well be a copy of that."""
        if content not in self._held:
            self._held[content] = any(self._holds(key, content) for key in self._models.contents[content])
        return self._held[content]

    def _holds(self, key: int, content: str) -> bool:
        draft = self.drafts.get(key)
        if draft is not None:
            return draft.folder is not None and draft.is_whole and content_key(draft.folder) == content
        return key not in self.merged and self._models.rows[key].is_whole and not self._is_free(key)

    def _went_away(self, model: Model, keys: Iterable[int]) -> list[int]:
        """What replaced another model in its folder is only looked for among what went away since the last scan."""
        is_known = self._is_known(model)
        return [key for key in keys if not (is_known and self._models.rows[key].is_missing)]

    def _is_known(self, model: Model) -> bool:
        return str(model.path) in self._models.at

    def _has_same_content(self, key: int, model: Model) -> bool:
        return content_key(self._models.rows[key].declared) == content_key(model)

    def _revised_in_place(self, model: Model) -> bool:
        key = self._models.at.get(str(model.path))
        is_first = key is not None and self._models.rows[key].path == model.path
        return self._take(model, [key] if key is not None and is_first and self._is_free(key) else [])

    def _revised_elsewhere(self, model: Model) -> bool:
        return self._take(
            model,
            [
                key
                for key in self._models.declared[declared_id(model)]
                if self._is_free(key) and self._may_revise(self._models.rows[key], model)
            ],
        )

    def _may_revise(self, row: StoredModel, model: Model) -> bool:
        is_certain = row.path == model.path or not has_other_content(row.declared, model)
        return is_certain or row.key not in self._pinned

    def _added(self, model: Model) -> bool:
        row = StoredModel(self._next_key, model, model.name, self._now_s)
        self._next_key += 1
        self.drafts[row.key] = Draft.of(row)
        self._here.setdefault(identity_key(model), row.key)
        return True

    # -- rows

    def _draft(self, key: int) -> Draft:
        if key not in self.drafts:
            self.drafts[key] = Draft.of(self._models.rows[key])
        return self.drafts[key]

    def _take(self, model: Model, free: list[int]) -> bool:
        """Give the best of these rows to a folder."""
        if not free:
            return False
        key = min(free, key=lambda key: self._preference(self._models.rows[key], model))
        draft = self._draft(key)
        draft.folder = model
        self._here.setdefault(identity_key(model), key)
        return True

    def _preference(self, row: StoredModel, model: Model) -> tuple[bool, bool, bool, float, int]:
        is_renamed = row.duplicate_of is not None
        return row.key not in self._pinned, row.path != model.path, is_renamed, -(row.missing_since_s or 0.0), row.key

    def _present(self, model: Model) -> int | None:
        """The row of the same model in another folder."""
        identity = identity_key(model)
        if identity in self._here:
            return self._here[identity]
        here = [key for key in self._models.identities[identity] if self._is_here(key)]
        if here:
            self._here[identity] = min(here)
        return self._here.get(identity)

    def _is_here(self, key: int) -> bool:
        """Of a row that this scan did not touch; one whose folder turns out to be gone is vacated."""
        row = self._models.rows[key]
        if key in self.drafts or key in self.merged or not row.is_whole:
            return False
        is_gone = self._is_unseen(row)
        if is_gone:
            self._draft(key).loses(str(row.path))
        return not is_gone

    def _is_free(self, key: int, *, is_broken_too: bool = False) -> bool:
        """Whether a row has no folder any more, or one whose content nobody knows."""
        if key in self.merged:
            return False
        draft = self.drafts.get(key)
        if draft is not None:
            return draft.folder is None or (is_broken_too and not draft.is_whole)
        row = self._models.rows[key]
        return row.is_missing or (is_broken_too and not row.is_whole) or self._is_unseen(row)

    def _is_unseen(self, row: StoredModel) -> bool:
        """Whether its folder, which this scan did not look at, is gone."""
        return not row.others and str(row.path) not in self._unchanged and not self._is_there(row.path)

    def _latest(self, keys: Iterable[int]) -> int | None:
        return max(keys, key=lambda key: (self._models.rows[key].missing_since_s or 0.0, key), default=None)
