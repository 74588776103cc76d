from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.index.matching import RENAMED_WITHIN_S
from registry.index.pins import StoredPin
from registry.index.plan import Plan
from registry.index.reconcile import reconcile
from registry.index.state import State
from registry.index.stored import Verdict
from registry.model import FolderProblem, Model, Problem, ScanReport, Source, Status, Task

ROOT = Path("/r")


def model(folder: str, name: str = "phi", content: str = "c1", source: Source = Source.FOLDER) -> Model:
    fingerprint = f"{content} as files"
    return Model(
        name=name,
        version="1",
        alias=name,
        path=ROOT / folder,
        source=source,
        fingerprint=fingerprint,
        content=content,
    )


def touched(known: Model) -> Model:
    return replace(known, fingerprint=f"{known.fingerprint} touched")


def report(*models: Model, problems: tuple[FolderProblem, ...] = (), covered: Path = ROOT) -> ScanReport:
    return ScanReport(models, problems, (covered,), 0.0)


@dataclass
class Rows:
    """The registry, without a database."""

    state: State = field(default_factory=State)
    now_s: float = 0.0

    def apply(self, scanned: ScanReport, *, is_there: bool = True) -> Plan:
        self.now_s += 1.0
        plan = reconcile(self.state, scanned, now_s=self.now_s, is_there=lambda _path: is_there)
        self.state = plan.follow(self.state)
        return plan

    def is_half(self, scanned: ScanReport) -> bool:
        plan = reconcile(self.state, scanned, now_s=self.now_s)
        return plan.may_be_half_a_move(self.state)

    def pin(self, key: int) -> None:
        self.state = replace(self.state, stored_pins=(StoredPin(Task.CHAT, key),))

    @property
    def models(self) -> dict[int, Model]:
        return {key: row.model for key, row in self.state.models.rows.items()}

    def ids(self) -> dict[str, str]:
        return {str(each.path.relative_to(ROOT)): each.id for each in self.models.values()}

    def statuses(self) -> dict[str, Status]:
        return {str(each.path.relative_to(ROOT)): each.status for each in self.models.values()}


def broken(folder: str, code: str = "unfinished", status: Status = Status.PARTIAL) -> FolderProblem:
    return FolderProblem(ROOT / folder, code, "Wait.", "download.tmp", status)


# -- one folder


def test_the_same_report_again_changes_nothing() -> None:
    rows = Rows()
    assert rows.apply(report(model("a"))).changes.added == ("phi:1",)
    again = rows.apply(report(model("a")))
    assert again.is_empty
    assert again.changes.unchanged == 1


def test_what_was_only_listed_is_as_it_was() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b", "qwen")))
    plan = rows.apply(ScanReport((), (), (ROOT,), 0.0, unchanged=frozenset({ROOT / "a", ROOT / "b"})))
    assert plan.is_empty
    assert plan.changes.unchanged == 2


def test_changed_content_is_a_new_revision_of_the_same_row() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    assert rows.apply(report(model("a", content="c2"))).changes.updated == ("phi:1",)
    assert [(each.revision, each.content) for each in rows.models.values()] == [(2, "c2")]


def test_a_touched_file_is_written_down_and_is_no_news() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    changes = rows.apply(report(touched(model("a")))).changes
    assert changes.is_empty
    assert changes.unchanged == 1
    assert rows.models[1].fingerprint == touched(model("a")).fingerprint
    assert rows.models[1].revision == 1


def test_what_a_catalog_says_is_an_update_and_no_revision() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    assert rows.apply(report(replace(model("a"), license="MIT"))).changes.updated == ("phi:1",)
    assert rows.models[1].revision == 1


def test_content_that_an_older_version_did_not_read_is_no_new_revision() -> None:
    rows = Rows()
    rows.apply(report(replace(model("a"), content="")))
    rows.apply(report(model("a")))
    assert (rows.models[1].revision, rows.models[1].content) == (1, "c1")


def test_what_is_gone_is_missing_with_its_date_and_comes_back() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    rows.apply(report(model("a", content="c2")))
    assert rows.apply(report()).changes.missing == ("phi:1",)
    assert rows.statuses() == {"a": Status.MISSING}
    assert [each.missing_since_s for each in rows.models.values()] == [3.0]
    assert rows.apply(report()).is_empty
    assert rows.apply(report(model("a", content="c2"))).changes.added == ("phi:1",)
    assert rows.statuses() == {"a": Status.READY}
    assert rows.models[1].missing_since_s is None
    assert rows.models[1].revision == 2


def test_what_was_not_covered_is_left_alone() -> None:
    rows = Rows()
    rows.apply(report(model("a/x"), model("a-b/z", "llama"), model("b/y", "qwen")))
    assert rows.apply(report(covered=ROOT / "a")).changes.missing == ("phi:1",)
    assert rows.statuses() == {"a/x": Status.MISSING, "a-b/z": Status.READY, "b/y": Status.READY}


def test_a_scan_of_the_whole_disk_covers_everything() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    assert rows.apply(report(covered=Path("/"))).changes.missing == ("phi:1",)


# -- problems


def test_a_known_model_takes_the_status_of_its_problem_and_loses_it_again() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    changes = rows.apply(report(problems=(broken("a"),))).changes
    assert (changes.updated, changes.found) == (("phi:1",), (broken("a"),))
    assert rows.statuses() == {"a": Status.PARTIAL}
    assert [each.code for each in rows.models[1].problems] == ["unfinished"]
    assert rows.apply(report(problems=(broken("a"),))).is_empty
    assert rows.apply(report(model("a"))).changes.solved == (broken("a"),)
    assert rows.models[1].problems == ()
    assert rows.state.problems == {}


def test_a_download_that_starts_again_brings_the_row_back() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    rows.apply(report())
    rows.apply(report(problems=(broken("a"),)))
    assert rows.statuses() == {"a": Status.PARTIAL}
    rows.apply(report(model("a")))
    assert list(rows.models) == [1]


def test_problems_outside_of_what_was_covered_stand() -> None:
    rows = Rows()
    here, there = broken("a/x"), broken("b/y")
    assert rows.apply(report(problems=(here, there))).changes.found == (here, there)
    assert rows.apply(report(covered=ROOT / "a")).changes.solved == (here,)
    assert list(rows.state.problems.values()) == [there]


def test_another_wording_is_no_other_problem() -> None:
    rows = Rows()
    rows.apply(report(problems=(broken("a"),)))
    again = replace(broken("a"), message="Wait a little longer.")
    changes = rows.apply(report(problems=(again,))).changes
    assert (changes.found, changes.solved) == ((), ())
    assert list(rows.state.problems.values()) == [again]


def test_a_blocked_model_is_a_found_problem_and_a_solved_one_when_it_is_allowed() -> None:
    rows = Rows()
    problem = broken("a", "custom_ops_library", Status.BLOCKED)
    blocked = replace(model("a"), status=Status.BLOCKED, problems=(_note(problem),))
    assert rows.apply(report(blocked)).changes.found == (problem,)
    changes = rows.apply(report(model("a"))).changes
    assert (changes.solved, changes.updated) == ((problem,), ("phi:1",))


def test_a_failed_check_holds_as_long_as_no_file_is_written() -> None:
    rows = Rows()
    rows.apply(report(model("a")))
    verdict = Verdict(model("a").fingerprint, 5.0, (_note(broken("a", "content_damaged")),))
    checked = replace(rows.state.models.rows[1], verdict=verdict)
    rows.state = replace(rows.state, models=rows.state.models.followed_by([checked]))
    assert (rows.models[1].status, rows.models[1].verified_s) == (Status.INVALID, 5.0)
    assert rows.apply(report(model("a"))).is_empty
    changes = rows.apply(report(touched(model("a")))).changes
    assert [each.code for each in changes.solved] == ["content_damaged"]
    assert (rows.models[1].status, rows.models[1].verified_s) == (Status.READY, None)


def _note(problem: FolderProblem) -> Problem:
    return Problem(problem.code, problem.message, problem.file)


# -- several folders with one id


def test_the_second_of_two_folders_with_one_id_gets_its_own_and_keeps_it() -> None:
    rows = Rows()
    rows.apply(report(model("b"), model("a", content="c2")))
    ids = rows.ids()
    assert ids["a"] == "phi:1"
    assert ids["b"].startswith("phi-")
    assert len(ids["b"]) == len("phi-1234:1")
    second = next(each for each in rows.models.values() if each.path == ROOT / "b")
    assert second.problems[0].code == "duplicate_id"
    assert str(ROOT / "a") in second.problems[0].message
    assert second.status is Status.READY
    assert rows.apply(report(model("a", content="c2"), model("b"))).is_empty


def test_ids_that_differ_in_case_only_are_the_same() -> None:
    rows = Rows()
    rows.apply(report(model("a", "Phi"), model("b", "phi", "c2")))
    assert len({each.casefold() for each in rows.ids().values()}) == 2


def test_a_newcomer_never_takes_the_id_of_a_model_that_is_here() -> None:
    rows = Rows()
    rows.apply(report(model("b")))
    rows.apply(report(model("a", content="c2"), model("b")))
    assert rows.ids()["b"] == "phi:1"


def test_the_second_gets_the_id_when_the_first_is_gone_and_the_change_is_told() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b", content="c2")))
    other = rows.ids()["b"]
    changes = rows.apply(report(model("b", content="c2"))).changes
    assert rows.ids()["b"] == "phi:1"
    assert changes.updated == ("phi:1",)
    assert other in changes.missing


def test_a_pinned_model_keeps_its_id_while_it_is_missing() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b", content="c2")))
    rows.pin(1)
    rows.apply(report(model("b", content="c2")))
    assert rows.ids()["a"] == "phi:1"
    assert rows.models[1].status is Status.MISSING


def test_a_real_model_goes_before_the_demo_model_where_both_are_new() -> None:
    rows = Rows()
    rows.apply(report(model("a", source=Source.DEMO), model("b", content="c2")))
    assert rows.ids()["b"] == "phi:1"


def test_a_name_of_its_own_gives_way_to_a_model_that_declares_it() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b", content="c2")))
    taken = rows.ids()["b"].partition(":")[0]
    rows.apply(report(model("a"), model("b", content="c2"), model("c", taken, "c3")))
    assert rows.ids()["c"] == f"{taken}:1"
    assert len(set(rows.ids().values())) == 3


# -- one model in several folders


def test_a_copy_is_another_location_of_the_same_model() -> None:
    rows = Rows()
    rows.apply(report(model("b")))
    changes = rows.apply(report(model("a"), model("b"))).changes
    assert (changes.added, changes.updated) == ((), ("phi:1",))
    assert rows.models[1].path == ROOT / "b"
    assert rows.models[1].locations == (ROOT / "a",)
    assert rows.apply(report(model("a"), model("b"))).is_empty


def test_when_the_first_folder_goes_the_other_takes_over() -> None:
    rows = Rows()
    rows.apply(report(model("a"), touched(model("b"))))
    rows.pin(1)
    changes = rows.apply(ScanReport((), (), (ROOT,), 0.0, unchanged=frozenset({ROOT / "b"}))).changes
    assert (changes.updated, changes.missing) == (("phi:1",), ())
    assert (rows.models[1].path, rows.models[1].locations) == (ROOT / "b", ())
    assert rows.models[1].fingerprint == touched(model("b")).fingerprint


def test_when_the_first_folder_breaks_the_other_takes_over() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b")))
    rows.apply(report(model("b"), problems=(broken("a"),)))
    assert rows.statuses() == {"b": Status.READY}
    rows.apply(report(model("a"), model("b")))
    assert rows.models[1].locations == (ROOT / "a",)


def test_when_the_first_folder_changes_the_model_stays_with_its_content() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b")))
    rows.pin(1)
    rows.apply(report(model("a", content="c2"), model("b")))
    assert (rows.models[1].path, rows.models[1].revision) == (ROOT / "b", 1)
    assert rows.ids()["b"] == "phi:1"
    assert rows.models[2].content == "c2"


def test_the_demo_model_is_never_the_first_of_two_folders() -> None:
    rows = Rows()
    rows.apply(report(model("a", source=Source.DEMO)))
    rows.apply(report(model("a", source=Source.DEMO), model("b")))
    assert (rows.models[1].path, rows.models[1].source) == (ROOT / "b", Source.FOLDER)
    assert rows.models[1].locations == (ROOT / "a",)


def test_a_folder_that_becomes_a_copy_joins_and_its_old_row_is_missing() -> None:
    rows = Rows()
    rows.apply(report(model("a"), model("b", content="c2")))
    rows.apply(report(model("a"), model("b")))
    assert rows.models[1].locations == (ROOT / "b",)
    assert rows.models[2].status is Status.MISSING
    assert rows.apply(report(model("a"), model("b"))).is_empty


def test_rows_whose_content_turns_out_to_be_the_same_become_one() -> None:
    """As an older version left them, which knew files only."""
    rows = Rows()
    old = replace(model("a"), content="", fingerprint="f1"), replace(model("b"), content="", fingerprint="f2")
    rows.apply(report(*old))
    assert len(rows.models) == 2
    rows.apply(report(model("a"), model("b")))
    assert [(each.path, each.locations) for each in rows.models.values()] == [(ROOT / "a", (ROOT / "b",))]


# -- moves


def test_a_moved_folder_keeps_its_row_in_one_scan() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    changes = rows.apply(report(model("new"))).changes
    assert list(rows.models) == [1]
    assert rows.models[1].path == ROOT / "new"
    assert (changes.updated, changes.added, changes.missing) == (("phi:1",), (), ())


def test_a_moved_folder_keeps_its_row_when_its_new_place_is_scanned_first() -> None:
    for is_there in (True, False):  # the old one may still be seen on the disk, or not
        rows = Rows()
        rows.apply(report(model("old")))
        rows.apply(report(model("new"), covered=ROOT / "new"), is_there=is_there)
        rows.apply(report(covered=ROOT / "old"))
        assert list(rows.models) == [1]
        assert rows.ids() == {"new": "phi:1"}
        assert rows.models[1].revision == 1


def test_a_moved_folder_keeps_its_row_when_its_old_place_was_scanned_first() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    rows.apply(report(covered=ROOT / "old"))
    assert rows.apply(report(model("new"), covered=ROOT / "new")).changes.added == ("phi:1",)
    assert list(rows.models) == [1]


def test_a_model_that_is_named_after_its_folder_keeps_its_row_when_that_is_renamed() -> None:
    for is_in_one_scan in (True, False):
        rows = Rows()
        rows.apply(report(model("phi")))
        if is_in_one_scan:
            rows.apply(report(model("phi-new", "phi-new")))
        else:
            rows.apply(report(model("phi-new", "phi-new"), covered=ROOT / "phi-new"), is_there=False)
            rows.apply(report(covered=ROOT / "phi"))
        assert [(key, each.id, each.revision) for key, each in rows.models.items()] == [(1, "phi-new:1", 1)]


def test_a_model_that_is_gone_for_long_is_not_taken_over_by_another_id() -> None:
    for waited_s, is_same_row in ((RENAMED_WITHIN_S, True), (RENAMED_WITHIN_S + 2.0, False)):
        rows = Rows()
        rows.apply(report(model("phi")))
        rows.pin(1)
        rows.apply(report())
        rows.now_s += waited_s - 1.0
        rows.apply(report(model("phi-new", "phi-new")))
        assert (rows.models[1].id == "phi-new:1") is is_same_row
        assert (len(rows.models) == 1) is is_same_row


def test_a_model_that_is_gone_for_long_comes_back_anywhere_under_its_own_id() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    rows.apply(report())
    rows.now_s += 10 * RENAMED_WITHIN_S
    rows.apply(report(model("new")))
    assert [(key, each.path.name) for key, each in rows.models.items()] == [(1, "new")]


def test_a_copy_of_a_twin_is_not_what_went_away() -> None:
    for is_in_one_scan in (True, False):
        rows = Rows()
        rows.apply(report(model("a", "a"), model("z", "z")))
        rows.pin(1)
        if not is_in_one_scan:
            rows.apply(report(model("z", "z")))
        rows.apply(report(model("z", "z"), model("zz", "zz")))
        assert rows.statuses() == {"a": Status.MISSING, "z": Status.READY, "zz": Status.READY}
        rows.apply(report(model("a", "a"), model("z", "z"), model("zz", "zz")))
        assert {key: each.id for key, each in rows.models.items()} == {1: "a:1", 2: "z:1", 3: "zz:1"}


def test_a_twin_that_nobody_looked_at_counts_if_its_folder_is_there() -> None:
    for is_there in (True, False):
        rows = Rows()
        rows.apply(report(model("a", "a"), model("z", "z")))
        rows.apply(report(covered=ROOT / "a"))
        rows.apply(report(model("zz", "zz"), covered=ROOT / "zz"), is_there=is_there)
        assert (len(rows.models) == 3) is is_there


def test_twins_that_are_renamed_together_keep_their_rows() -> None:
    rows = Rows()
    rows.apply(report(model("a", "a"), model("b", "b")))
    rows.apply(report(model("x", "x"), model("y", "y")))
    assert {key: each.id for key, each in rows.models.items()} == {1: "x:1", 2: "y:1"}


def test_a_missing_model_comes_back_to_its_own_folder_and_not_to_a_copy_of_it() -> None:
    rows = Rows()
    rows.apply(report(model("two", "two")))
    rows.apply(report())
    rows.apply(report(model("one", "one"), model("two", "two")))
    assert rows.models[1].id == "two:1"
    rows.apply(report())
    rows.apply(report(model("a", "two"), model("two", "two")))
    assert (rows.models[1].path, rows.models[1].locations) == (ROOT / "two", (ROOT / "a",))


def test_a_moved_model_is_the_one_with_its_id_before_one_with_its_content() -> None:
    rows = Rows()
    rows.apply(report(model("old", "two")))
    rows.apply(report())
    rows.apply(report(model("a", "one"), model("b", "two")))
    assert rows.models[1].path == ROOT / "b"


def test_two_folders_that_change_places_keep_their_rows() -> None:
    rows = Rows()
    rows.apply(report(model("a", "phi", "c1"), model("b", "qwen", "c2")))
    rows.apply(report(model("a", "qwen", "c2"), model("b", "phi", "c1")))
    assert {key: (each.id, each.path.name, each.revision) for key, each in rows.models.items()} == {
        1: ("phi:1", "b", 1),
        2: ("qwen:1", "a", 1),
    }


def test_a_model_that_was_downloaded_again_elsewhere_is_a_new_revision() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    rows.apply(report())
    rows.apply(report(model("new", content="c2")))
    assert [(each.path.name, each.revision) for each in rows.models.values()] == [("new", 2)]


def test_other_content_never_takes_over_a_pin() -> None:
    rows = Rows()
    rows.apply(report(model("old")))
    rows.pin(1)
    rows.apply(report(model("new", content="c2")))
    assert rows.statuses() == {"old": Status.MISSING, "new": Status.READY}
    assert rows.ids()["old"] == "phi:1"
    rows.apply(report(model("new", content="c2"), model("old", content="c3")))  # the folder itself
    assert (rows.models[1].path.name, rows.models[1].content, rows.models[1].revision) == ("old", "c3", 2)


def test_a_catalog_at_the_new_place_does_not_hide_a_move() -> None:
    rows = Rows()
    rows.apply(report(replace(model("old"), content="", fingerprint="files-catalog")))
    rows.apply(report(replace(model("new"), content="", fingerprint="files")))
    assert list(rows.models) == [1]


# -- halves of moves


def test_what_a_report_of_a_part_may_tell_half_of() -> None:
    rows = Rows()
    rows.apply(report(model("a", "a"), model("b", "b", "c2")))
    rows.pin(1)
    a, b, c = ROOT / "a", ROOT / "b", ROOT / "c"
    assert rows.is_half(report(model("a", "a", "c2"), covered=a))  # other content for the pin
    assert rows.is_half(report(model("b", "b", "c1"), covered=b))  # what is pinned, in the place of something else
    assert rows.is_half(report(model("c", "c", "c1"), covered=c))  # the same in a new place
    assert not rows.is_half(report(model("b", "b", "c3"), covered=b))
    assert not rows.is_half(report(touched(model("a", "a")), covered=a))
    assert not rows.is_half(report(model("c", "a"), covered=c))  # a location of the very model
    assert not rows.is_half(report(covered=a))
    rows.apply(report(model("c", "c", "c1"), covered=c))
    assert not rows.is_half(report(touched(model("c", "c", "c1")), covered=c))  # known to be a copy
