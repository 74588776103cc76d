from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from registry.model import FolderProblem, Model, ScanReport, Source, Status
from registry.reconcile import Plan, reconcile
from registry.rows import StoredModel

ROOT = Path("/r")


def model(folder: str, name: str = "phi", fingerprint: str = "f1", source: Source = Source.FOLDER) -> Model:
    return Model(name=name, version="1", alias=name, path=ROOT / folder, source=source, fingerprint=fingerprint)


def report(*models: Model, problems: tuple[FolderProblem, ...] = (), covered: Path = ROOT) -> ScanReport:
    return ScanReport(models, problems, (covered,), 0.0)


class Rows:
    """The database, in memory."""

    def __init__(self) -> None:
        self.models: dict[int, StoredModel] = {}
        self.problems: tuple[FolderProblem, ...] = ()

    def apply(self, scanned: ScanReport, *, is_there: bool = True) -> Plan:
        plan = reconcile(tuple(self.models.values()), self.problems, scanned, is_there=lambda _path: is_there)
        for entry in plan.entries:
            key = entry.before.key if entry.before else len(self.models) + 1
            self.models[key] = StoredModel(key, entry.declared_name, entry.model, None)
        self.problems = plan.problems
        return plan

    def ids(self) -> dict[str, str]:
        return {str(each.model.path.relative_to(ROOT)): each.model.id for each in self.models.values()}

    def statuses(self) -> dict[str, Status]:
        return {str(each.model.path.relative_to(ROOT)): each.model.status for each in self.models.values()}


def test_the_same_report_again_changes_nothing() -> None:
    rows = Rows()
    assert rows.apply(report(model("a"))).changes.added == ("phi:1",)
    again = rows.apply(report(model("a")))
    assert again.entries == ()
    assert again.changes.unchanged == 1


def test_a_changed_folder_is_an_update_of_the_same_row() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    assert rows.apply(report(model("a", fingerprint="f2"))).changes.updated == ("phi:1",)
    assert len(rows.models) == 1


def test_what_is_gone_is_missing_and_comes_back() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    assert rows.apply(report()).changes.missing == ("phi:1",)
    assert rows.statuses() == {"a": Status.MISSING}
    assert rows.apply(report()).changes.is_empty
    assert rows.apply(report(model("a"))).changes.added == ("phi:1",)
    assert rows.statuses() == {"a": Status.READY}


def test_what_was_not_covered_is_left_alone() -> None:
    rows = Rows()
    rows.apply(report(model("a/x"), model("b/y", "qwen")))
    assert rows.apply(report(covered=ROOT / "a")).changes.missing == ("phi:1",)
    assert rows.statuses() == {"a/x": Status.MISSING, "b/y": Status.READY}


def test_a_known_model_takes_the_status_of_its_problem_and_loses_it_again() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    problem = FolderProblem(ROOT / "a", "unfinished", "Wait.", "download.tmp", Status.PARTIAL)
    assert rows.apply(report(problems=(problem,))).changes.updated == ("phi:1",)
    assert rows.statuses() == {"a": Status.PARTIAL}
    assert [each.code for each in rows.models[1].model.problems] == ["unfinished"]
    rows.apply(report(model("a")))
    assert rows.models[1].model.problems == ()
    assert rows.problems == ()


def test_problems_outside_of_what_was_covered_stand() -> None:
    rows = Rows()
    here, there = (FolderProblem(ROOT / name, "graph_missing", "Copy.") for name in ("a/x", "b/y"))
    rows.apply(report(problems=(here, there)))
    rows.apply(report(covered=ROOT / "a"))
    assert rows.problems == (there,)


def test_the_second_of_two_folders_with_one_id_gets_its_own_and_keeps_it() -> None:
    rows = Rows()
    rows.apply(report(model("b"), model("a", fingerprint="f2")))
    ids = rows.ids()
    assert ids["a"] == "phi:1"
    assert ids["b"].startswith("phi-")
    assert len(ids["b"]) == len("phi-1234:1")
    second = next(each.model for each in rows.models.values() if each.model.path == ROOT / "b")
    assert second.problems[0].code == "duplicate_id"
    assert second.status is Status.READY
    assert rows.apply(report(model("a", fingerprint="f2"), model("b"))).entries == ()


def test_ids_that_differ_in_case_only_are_the_same() -> None:
    rows = Rows()
    rows.apply(report(model("a", "Phi"), model("b", "phi", "f2")))
    assert len({each.casefold() for each in rows.ids().values()}) == 2


def test_the_second_gets_the_id_when_the_first_is_gone_and_the_change_is_told() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b", fingerprint="f2")))
    other = rows.ids()["b"]
    changes = rows.apply(report(model("b", fingerprint="f2"))).changes
    assert rows.ids()["b"] == "phi:1"
    assert changes.updated == ("phi:1",)
    assert other in changes.missing


def test_a_real_model_goes_before_the_demo_model() -> None:
    rows = Rows()
    rows.apply(report(model("a", source=Source.DEMO), model("b", fingerprint="f2")))
    assert rows.ids()["b"] == "phi:1"


def test_a_moved_folder_keeps_its_row_in_one_scan() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    changes = rows.apply(report(model("new"))).changes
    assert list(rows.models) == [1]
    assert rows.models[1].model.path == ROOT / "new"
    assert (changes.updated, changes.added, changes.missing) == (("phi:1",), (), ())


def test_a_moved_folder_keeps_its_row_when_its_new_place_is_scanned_first() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    rows.apply(report(model("new"), covered=ROOT / "new"), is_there=False)
    rows.apply(report(covered=ROOT / "old"))
    assert list(rows.models) == [1]
    assert rows.ids() == {"new": "phi:1"}


def test_a_moved_folder_keeps_its_row_when_its_old_place_was_scanned_first() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    rows.apply(report(covered=ROOT / "old"))
    assert rows.apply(report(model("new"), covered=ROOT / "new")).changes.added == ("phi:1",)
    assert list(rows.models) == [1]


def test_a_catalog_at_the_new_place_does_not_hide_a_move() -> None:
    rows = Rows()
    rows.apply(report(model("old", fingerprint="files-catalog")))
    rows.apply(report(model("new", fingerprint="files")))
    assert list(rows.models) == [1]


def test_a_copy_is_no_move() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    rows.apply(report(model("b"), covered=ROOT / "b"), is_there=True)
    assert len(rows.models) == 2


_folders = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d/e", "d/f"]),
    st.tuples(st.sampled_from(["phi", "Phi", "qwen"]), st.sampled_from(["f1", "f2"]), st.booleans()),
    max_size=5,
)


@given(history=st.lists(_folders, min_size=1, max_size=6))
def test_after_any_history_the_registry_says_what_a_fresh_scan_says(
    history: list[dict[str, tuple[str, str, bool]]],
) -> None:
    rows = Rows()
    for folders in history:
        models = tuple(model(path, name, files) for path, (name, files, is_whole) in folders.items() if is_whole)
        broken = (FolderProblem(ROOT / path, "graph_missing", "Copy.") for path in folders if not folders[path][2])
        last = report(*models, problems=tuple(broken))
        rows.apply(last)
        ids = [each.model.id.casefold() for each in rows.models.values()]
        assert len(set(ids)) == len(ids)
    assert rows.apply(last).entries == ()
    ready = {each.path for each in last.models}
    assert {each.model.path for each in rows.models.values() if each.model.status is Status.READY} == ready
    fresh = Rows()
    fresh.apply(replace(last, problems=()))
    if all(each.model.status in (Status.READY, Status.MISSING) for each in rows.models.values()):
        assert {k: v for k, v in rows.ids().items() if ROOT / k in ready} == fresh.ids()
