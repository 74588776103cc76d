"""Any sequence of what can happen to folders, scanned in any order: what always holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from registry.index.matching import RENAMED_WITHIN_S
from registry.index.models import Models
from registry.index.pins import StoredPin
from registry.index.reconcile import reconcile
from registry.index.state import State
from registry.model import FolderProblem, Model, ScanReport, Source, Status, Task

ROOT = Path("/r")
FOLDERS = st.sampled_from(["a", "b", "c", "d/e", "d/f"]).map(ROOT.joinpath)
NAMES = st.sampled_from(["phi", "Phi", "qwen"])
CONTENTS = st.sampled_from(["c1", "c2", "c3"])


class Folders(RuleBasedStateMachine):
    """``disk`` is what is there, ``state`` what the registry makes of the scans so far."""

    def __init__(self) -> None:
        super().__init__()
        self.disk: dict[Path, Model] = {}
        self.broken: set[Path] = set()
        self.state = State()
        self.now_s = 0.0

    # -- what happens on the disk

    @rule(path=FOLDERS, name=NAMES, content=CONTENTS, is_demo=st.booleans())
    def write(self, path: Path, name: str, content: str, is_demo: bool) -> None:
        source = Source.DEMO if is_demo else Source.FOLDER
        self.disk[path] = Model(
            name=name,
            version="1",
            alias=name,
            path=path,
            source=source,
            fingerprint=f"f-{content}",
            content=content,
        )

    @rule(path=FOLDERS, other=FOLDERS)
    def copy(self, path: Path, other: Path) -> None:
        if path in self.disk:
            self.disk[other] = replace(self.disk[path], path=other)

    @rule(path=FOLDERS, other=FOLDERS)
    def swap(self, path: Path, other: Path) -> None:
        """Also a move, where one of them is empty."""
        here, there = self.disk.pop(path, None), self.disk.pop(other, None)
        self.disk |= {place: replace(each, path=place) for place, each in ((other, here), (path, there)) if each}

    @rule(path=FOLDERS)
    def touch(self, path: Path) -> None:
        if path in self.disk:
            self.disk[path] = replace(self.disk[path], fingerprint=f"{self.disk[path].fingerprint}+")

    @rule(path=FOLDERS)
    def remove(self, path: Path) -> None:
        self.disk.pop(path, None)

    @rule(path=FOLDERS)
    def break_or_mend(self, path: Path) -> None:
        self.broken ^= {path}

    @rule()
    def wait(self) -> None:
        self.now_s += 2 * RENAMED_WITHIN_S

    # -- what a person does

    @precondition(lambda self: self.state.models.rows)
    @rule(data=st.data(), task=st.sampled_from([Task.CHAT, Task.CODE]))
    def pin(self, data: st.DataObject, task: Task) -> None:
        key = data.draw(st.sampled_from(sorted(self.state.models.rows)))
        others = tuple(pin for pin in self.state.stored_pins if pin.task is not task)
        self.state = replace(self.state, stored_pins=(*others, StoredPin(task, key)))

    # -- scans

    @rule(under=FOLDERS | st.just(ROOT / "d"))
    def scan_one(self, under: Path) -> None:
        self.apply(self.report(under))

    @rule()
    def scan(self) -> None:
        report = self.report(ROOT)
        self.apply(report)
        again = reconcile(self.state, report, now_s=self.now_s + 1, is_there=self.disk.__contains__)
        assert again.is_empty, again
        fresh = State()
        fresh = reconcile(fresh, self.report(ROOT, known={}), now_s=0.0).follow(fresh)
        assert self.found(self.state) == self.found(fresh)
        assert self.state.problems == fresh.problems

    def report(self, under: Path, known: dict[Path, Model] | None = None) -> ScanReport:
        """As ``registry.scan`` would tell it."""
        if known is None:
            rows = self.state.models.rows.values()
            known = {model.path: model for row in rows for model in row.folders}
        here = {path: model for path, model in self.disk.items() if path.is_relative_to(under)}
        whole = {path: model for path, model in here.items() if path not in self.broken}
        unchanged = {path for path, model in whole.items() if known.get(path) == model}
        return ScanReport(
            models=tuple(model for path, model in whole.items() if path not in unchanged),
            problems=tuple(FolderProblem(path, "graph_missing", "Copy.") for path in here if path in self.broken),
            covered=(under,),
            seconds=0.0,
            unchanged=frozenset(unchanged),
        )

    def apply(self, report: ScanReport) -> None:
        before = self.state
        self.now_s += 1.0
        plan = reconcile(before, report, now_s=self.now_s, is_there=self.disk.__contains__)
        self.state = plan.follow(before)
        for key in before.pinned_keys:
            old, new = before.models.rows[key], self.state.models.rows[key]
            if old.declared.content != new.declared.content:
                assert old.path in {each.path for each in new.folders}, "a pin leads to other content elsewhere"
                assert new.revision == old.revision + 1
            elif old.is_missing and not new.is_missing and old.declared.id.casefold() != new.declared.id.casefold():
                assert old.missing_since_s is not None
                is_late = self.now_s - old.missing_since_s > RENAMED_WITHIN_S
                is_back = old.path in {each.path for each in new.folders}
                assert is_back or not is_late, "a pin was taken over by another id"
            if old.duplicate_of is None and old.declared.id.casefold() == new.declared.id.casefold():
                assert new.duplicate_of is None, "a pinned model lost its id"

    @staticmethod
    def found(state: State) -> dict[Path, tuple[str, Status, str]]:
        rows = (row for row in state.models.rows.values() if row.is_whole)
        return {
            folder.path: (folder.id.casefold(), folder.status, folder.content) for row in rows for folder in row.folders
        }

    # -- always

    @invariant()
    def every_id_is_one_of_its_own(self) -> None:
        ids = [row.model.id.casefold() for row in self.state.models.rows.values()]
        assert len(set(ids)) == len(ids)

    @invariant()
    def one_model_is_one_row(self) -> None:
        rows = [
            row for row in self.state.models.rows.values() if row.is_whole and row.key not in self.state.pinned_keys
        ]
        whole = [(row.declared.id.casefold(), row.declared.content) for row in rows]
        assert len(set(whole)) == len(whole)

    @invariant()
    def following_leads_to_what_reading_anew_leads_to(self) -> None:
        models = self.state.models
        anew = Models().followed_by(models.rows.values())
        assert (models.rows, models.at, models.ids) == (anew.rows, anew.at, anew.ids)
        for row in models.rows.values():
            for texts in (row.model.name, row.model.alias, row.declared.id, str(row.path), row.declared.content):
                for name in ("gone_from", "declared", "contents", "names"):
                    one, other = getattr(models, name)[texts], getattr(anew, name)[texts]
                    assert sorted(one) == sorted(other)


TestFolders = Folders.TestCase
TestFolders.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
