"""The choice over time, over real folders in a real registry: what is kept, what makes it new, who holds a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from daemon.choosing import Chooser
from daemon.settings import Settings
from registry.experience import Evaluation, EvaluationKind, Measurement
from registry.model import Device, Task
from selector.selection import SelectionRequest, SessionFacts, Setback
from tests.daemon.test_catalog import Scene
from tests.fakes import FakeClock

CHAT = SelectionRequest(Task.CHAT)


class Stage:
    """A chooser whose every circumstance the test decides."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.scene = Scene(home).with_tiny("one", "two")
        self.clock = FakeClock()
        self.sessions: Sequence[SessionFacts] = ()
        self.measured: tuple[Measurement, ...] = ()
        self.setbacks: tuple[Setback, ...] = ()
        self.settings = Settings.model_validate(settings)
        self.chooser = Chooser(
            self.scene.registry,
            self.scene.machine,
            lambda: self.settings,
            sessions=lambda: self.sessions,
            measurements=lambda: self.measured,
            setbacks=lambda: self.setbacks,
            clock=self.clock,
        )

    def rate(self, name: str, *, passed: int) -> None:
        model = self.scene.catalog.get(name)
        said = Evaluation(
            model_id=model.id,
            content=model.content,
            task=Task.CHAT,
            kind=EvaluationKind.TEST,
            score=passed / 100,
            items=100,
            evaluated_s=1.0,
        )
        self.scene.registry.add_evaluation(said)

    def measure(self, name: str, *, tokens_per_second: float = 7.0, threads: int = 3, measured_s: float = 1.0) -> None:
        model = self.scene.catalog.get(name)
        of_it = Measurement(
            model_id=model.id,
            content=model.content,
            device=Device.CPU,
            threads=threads,
            measured_s=measured_s,
            loads=1,
            resident_bytes=90_000_000,
            answers=5,
            tokens_per_second=tokens_per_second,
        )
        self.measured = (*self.measured, of_it)

    def chosen(self) -> str | None:
        return self.chooser.select(CHAT).chosen


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.scene.registry.close()


def test_what_was_appraised_is_kept_until_something_that_counts_changes(stage: Stage) -> None:
    stage.chooser.prepare()
    kept = stage.chooser._field
    assert kept is not None
    stage.sessions = (SessionFacts("two:0", 80_000_000, is_reclaimable=True),)
    stage.setbacks = (Setback("one:0", Device.GPU, 10**12, 30.0),)
    stage.chooser.take(SelectionRequest(Task.MATH))
    stage.scene.catalog.scan()
    stage.chooser.select(CHAT)
    assert stage.chooser._field is kept
    for change in (
        lambda: stage.rate("one", passed=5),
        lambda: stage.measure("one"),
        lambda: stage.scene.with_tiny("three"),
    ):
        before = stage.chooser._field
        change()
        stage.chooser.select(CHAT)
        assert stage.chooser._field is not before


def test_each_choice_sees_what_is_so_now(stage: Stage) -> None:
    assert stage.chosen() == "one:0"
    stage.setbacks = (Setback("one:0", Device.GPU, 10**12, 30.0),)
    assert stage.chosen() == "two:0"
    stage.setbacks = ()
    stage.sessions = (SessionFacts("two:0", 80_000_000, is_reclaimable=True, idle_s=5.0),)
    assert stage.chosen() == "two:0"  # it is loaded, and as good
    stage.scene.catalog.pin(Task.CHAT, "one")
    assert stage.chosen() == "one:0"
    stage.scene.catalog.unpin(Task.CHAT)
    stage.sessions = ()
    stage.rate("two", passed=90)
    assert stage.chosen() == "two:0"


def test_a_model_that_has_just_taken_over_keeps_the_task_for_a_minute(stage: Stage) -> None:
    assert stage.chooser.take(CHAT).chosen == "one:0"
    stage.rate("two", passed=60)
    assert stage.chooser.take(CHAT).chosen == "two:0"
    stage.sessions = (SessionFacts("two:0", 80_000_000, is_reclaimable=True),)
    stage.rate("one", passed=100)
    for now_s, chosen in ((0.0, "two:0"), (59.0, "two:0"), (60.0, "one:0")):
        stage.clock.now_s = now_s
        assert stage.chooser.select(CHAT).chosen == chosen
    assert stage.chooser.select(SelectionRequest(Task.CODE)).chosen == "two:0"  # loaded; nobody was rated for code


def test_a_dry_run_takes_nothing_over(stage: Stage) -> None:
    assert stage.chooser.take(CHAT).chosen == "one:0"
    stage.rate("two", passed=60)
    assert stage.chooser.select(CHAT).chosen == "two:0"
    stage.sessions = (SessionFacts("two:0", 80_000_000, is_reclaimable=True),)
    stage.rate("one", passed=100)
    assert stage.chooser.select(CHAT).chosen == "one:0"


def test_a_pin_is_no_swap(stage: Stage) -> None:
    stage.chooser.take(CHAT)
    stage.scene.catalog.pin(Task.CHAT, "two")
    assert stage.chooser.take(CHAT).chosen == "two:0"
    stage.scene.catalog.unpin(Task.CHAT)
    stage.sessions = (SessionFacts("two:0", 80_000_000, is_reclaimable=True),)
    stage.rate("one", passed=100)
    assert stage.chooser.take(CHAT).chosen == "one:0"


def test_measurements_of_other_thread_counts_or_contents_come_last_or_not_at_all(stage: Stage) -> None:
    stage.measure("one", threads=1, measured_s=9.0)
    stage.measure("one", threads=3, measured_s=2.0)
    stage.measure("two", threads=1)
    one, two = (stage.scene.catalog.get(name) for name in ("one", "two"))
    assert [each.threads for each in stage.chooser.measurements_of(one, 3)] == [3, 1]
    assert stage.chooser.loaded_bytes(one, 3) == 90_000_000
    assert stage.chooser.loaded_bytes(two, 3) is None
    (stage.scene.models / "one" / "chat_template.jinja").write_text("{{ messages }} ", encoding="utf-8")
    stage.scene.catalog.scan()
    assert stage.chooser.measurements_of(stage.scene.catalog.get("one"), 3) == ()


def test_what_was_measured_counts_in_the_ledger(stage: Stage) -> None:
    def speeds() -> dict[str, tuple[float, str]]:
        ranking = stage.chooser.select(CHAT).ranking
        return {each.model_id: (each.tokens_per_second, each.evidence["speed"]) for each in ranking}

    predicted = speeds()["one:0"][0]
    stage.measure("one", tokens_per_second=predicted / 4)
    assert speeds()["one:0"][0] < predicted / 2
    assert "measured" in speeds()["one:0"][1]


def test_what_the_owner_allows_bounds_what_a_request_allows(tmp_path: Path) -> None:
    stage = Stage(tmp_path, allow="one*", deny="nothing")
    with stage.scene.registry:
        open_to_all = SelectionRequest(Task.CHAT, allow=("*",))
        assert [each.model_id for each in stage.chooser.select(open_to_all).ranking] == ["one:0"]
        only_two = stage.chooser.select(SelectionRequest(Task.CHAT, allow=("two",)))
        assert only_two.chosen is None
        codes = {each.model_id: each.code for each in only_two.rejected}
        assert (codes["one:0"], codes["two:0"]) == ("not_allowed", "not_allowed")


def test_of_what_is_gone_only_a_pinned_model_is_told(stage: Stage) -> None:
    stage.scene.catalog.pin(Task.CODE, "two")
    for name in ("one", "two"):
        (stage.scene.models / name).rename(stage.scene.models.parent / name)
    stage.scene.catalog.scan()
    rejected = {each.model_id for each in stage.chooser.select(SelectionRequest(Task.CODE)).rejected}
    assert "two:0" in rejected
    assert "one:0" not in rejected


def test_what_people_want_counts_from_the_next_choice_on(stage: Stage) -> None:
    assert stage.chosen() == "one:0"
    stage.settings = Settings.model_validate({"deny": ["one"]})
    assert stage.chosen() == "two:0"
    stage.settings = Settings.model_validate({"model_points": {"two": 5}})
    assert stage.chosen() == "two:0"
    stage.settings = Settings.model_validate({"memory_budget_bytes": 1000})
    assert stage.chosen() is None
    stage.settings = Settings()
    assert stage.chosen() == "one:0"


def test_a_choice_knows_which_models_get_a_context_of_their_own(stage: Stage) -> None:
    asks = SelectionRequest(Task.CHAT, context_tokens=1024)
    assert stage.chooser.select(asks).chosen == "one:0"
    stage.settings = Settings.model_validate({"models": {"one": {"context_tokens": 512}}})
    selection = stage.chooser.select(asks)
    assert selection.chosen == "two:0"
    assert ("one:0", "context") in [(each.model_id, each.code) for each in selection.rejected]
    stage.settings = Settings.model_validate(
        {"max_context_tokens": 512, "models": {"one": {"threads": 1}, "one:0": {"context_tokens": 2048}}}
    )
    assert stage.chooser.select(asks).chosen == "one:0"
    stage.scene.with_tiny("one-more")
    assert stage.chooser.select(asks).chosen == "one:0"
