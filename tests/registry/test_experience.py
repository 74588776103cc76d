"""What was measured of models and what was said about them: kept by model, read back only while it holds."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import ModelNotFound
from registry.experience import Evaluation, EvaluationKind, Measurement
from registry.index.choices import MAX_EVALUATIONS
from registry.index.experience import evaluation_columns, evaluations
from registry.index.stored import StoredEvaluation
from registry.index.writing import MAX_ENGINE_PROOFS, MAX_MEASUREMENTS, MAX_TUNINGS
from registry.model import Device, Fallback, Model, Pin, ScanReport, Source, Status, Task
from registry.store import Registry
from tests.registry.samples import MEASURED, PROVEN, RICH, SAID, TUNED, report, variant


def of(model: Model, **fields: Any) -> Measurement:
    return replace(MEASURED, model_id=model.id, content=model.content, **fields)


def said_of(model: Model, **fields: Any) -> Evaluation:
    return replace(SAID, model_id=model.id, content=model.content, **fields)


def scores(registry: Registry) -> list[float]:
    return [each.score for each in registry.evaluations()]


# -- measurements


def test_the_samples_have_a_value_of_their_own_in_every_field() -> None:
    plain = Measurement(model_id="", content="", device=Device.CPU, threads=0, measured_s=0.0)
    said = Evaluation(
        model_id="", content="", task=Task.CHAT, kind=EvaluationKind.TEST, score=0.0, items=0, evaluated_s=0.0
    )
    for one, other in ((plain, MEASURED), (said, SAID)):
        assert not [field.name for field in fields(one) if getattr(one, field.name) == getattr(other, field.name)]


def test_a_measurement_comes_back_as_it_is(registry: Registry, tmp_path: Path) -> None:
    bare = Measurement(model_id=RICH.id, content="c", device=Device.CPU, threads=4, measured_s=1.0)
    registry.apply(report(RICH))
    registry.record_measurements([MEASURED, bare])
    assert registry.measurements() == (bare, MEASURED)
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        assert other.measurements() == (bare, MEASURED)
        read = other.measurements()[1]
        assert [type(getattr(read, field.name)) for field in fields(read)] == [
            type(getattr(MEASURED, field.name)) for field in fields(MEASURED)
        ]


def test_a_new_measurement_takes_the_place_of_that_with_the_same_device_and_threads(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.record_measurements([MEASURED])
    later = replace(MEASURED, measured_s=101.0, answers=8, ttft_s=None)
    other = replace(MEASURED, threads=4)
    registry.record_measurements([later, other, replace(later, model_id=RICH.id.upper())])
    assert registry.measurements() == (later, other)


def test_what_is_measured_of_a_model_that_is_not_known_is_dropped(registry: Registry) -> None:
    registry.record_measurements([MEASURED])
    registry.record_measurements([])
    registry.apply(report(RICH))
    registry.record_measurements([replace(MEASURED, model_id="gone:1"), MEASURED])
    assert registry.measurements() == (MEASURED,)


def test_a_measurement_holds_for_the_content_it_was_made_with(registry: Registry) -> None:
    revised = replace(RICH, content="other", fingerprint="g")
    registry.apply(report(RICH))
    registry.record_measurements([MEASURED])
    registry.apply(report(revised))
    assert registry.measurements() == ()
    registry.record_measurements([of(revised)])
    registry.record_measurements([replace(MEASURED, answers=9)])  # of a session that still runs the old files
    assert registry.measurements() == (of(revised),)
    registry.apply(report(RICH))
    assert registry.measurements() == (replace(MEASURED, answers=9),)


def test_measurements_and_evaluations_follow_a_model_that_is_moved_and_renamed(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.record_measurements([MEASURED])
    registry.add_evaluation(SAID)
    renamed = replace(RICH, name="phi-mine", path=Path("/r/mine"))
    registry.apply(report(renamed))
    assert [model.id for model in registry.models()] == ["phi-mine:5"]
    assert registry.measurements() == (of(renamed),)
    assert registry.evaluations() == (said_of(renamed),)
    registry.apply(report())
    assert registry.measurements() == (of(renamed),)  # it may come back
    assert registry.evaluations() == (said_of(renamed),)


def test_they_go_with_a_model_that_is_forgotten(registry: Registry, tmp_path: Path) -> None:
    root = registry.add_root(tmp_path)
    model = variant("phi", path=root / "phi", source=Source.FOLDER)
    found = ScanReport((model,), (), (root,), 0.0)
    registry.apply(found)
    registry.record_measurements([of(model)])
    registry.record_engine_proof(replace(PROVEN, model_id=model.id, content=model.content))
    registry.record_tuning(replace(TUNED, model_id=model.id, content=model.content))
    assert registry.tunings()
    assert registry.engine_proofs()
    registry.remove_root(root)
    assert (registry.models(), registry.measurements(), registry.engine_proofs(), registry.tunings()) == (
        (),
        (),
        (),
        (),
    )


def test_what_people_said_outlives_the_removal_of_a_root(registry: Registry, tmp_path: Path) -> None:
    root = registry.add_root(tmp_path)
    model = variant("phi", path=root / "phi", source=Source.FOLDER)
    registry.apply(ScanReport((model,), (), (root,), 0.0))
    registry.add_evaluation(said_of(model))
    registry.remove_root(root)
    assert [each.status for each in registry.models()] == [Status.MISSING]
    assert len(registry.evaluations()) == 1


def test_what_is_forgotten_does_not_come_back_with_the_model(registry: Registry, tmp_path: Path) -> None:
    root = registry.add_root(tmp_path)
    model = variant("phi", path=root / "phi", source=Source.FOLDER)
    found = ScanReport((model,), (), (root,), 0.0)
    registry.apply(found)
    registry.record_measurements([of(model)])
    registry.remove_root(root)
    registry.apply(found)
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        for each in (registry, other):
            assert len(each.models()) == 1
            assert (each.measurements(), each.evaluations()) == ((), ())


def test_only_the_latest_measurements_of_a_model_are_kept(registry: Registry) -> None:
    other = variant("other")
    registry.apply(report(RICH, other))
    registry.record_measurements([of(other, measured_s=0.0)])
    some = [replace(MEASURED, threads=number, measured_s=float(number)) for number in range(1, MAX_MEASUREMENTS + 3)]
    registry.record_measurements(some[::-1])
    registry.record_measurements([some[0]])
    assert [each for each in registry.measurements() if each.model_id == RICH.id] == some[2:]
    assert of(other, measured_s=0.0) in registry.measurements()


# -- proofs


def test_a_proof_comes_back_and_a_new_one_of_the_same_runtime_takes_its_place(
    registry: Registry, tmp_path: Path
) -> None:
    registry.apply(report(RICH))
    registry.record_engine_proof(PROVEN)
    later = replace(PROVEN, is_proven=False, proven_s=151.0)
    other = replace(PROVEN, runtime="onnxruntime 1.32.0", proven_s=160.0)
    for each in (later, other):
        registry.record_engine_proof(each)
    assert registry.engine_proofs() == (later, other)
    with Registry.open(tmp_path / "state" / "registry.db") as opened:
        assert opened.engine_proofs() == (later, other)


def test_a_proof_holds_for_the_content_it_was_made_with(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.record_engine_proof(PROVEN)
    registry.apply(report(replace(RICH, content="other", fingerprint="g")))
    assert registry.engine_proofs() == ()
    registry.apply(report(RICH))
    assert registry.engine_proofs() == (PROVEN,)


def test_a_proof_of_a_model_that_is_not_known_is_dropped(registry: Registry) -> None:
    registry.record_engine_proof(PROVEN)
    registry.apply(report(RICH))
    assert registry.engine_proofs() == ()


def test_only_the_latest_proofs_of_a_model_are_kept(registry: Registry) -> None:
    registry.apply(report(RICH))
    proofs = [replace(PROVEN, runtime=f"{n}", proven_s=float(n)) for n in range(MAX_ENGINE_PROOFS + 2)]
    for each in proofs:
        registry.record_engine_proof(each)
    assert registry.engine_proofs() == tuple(proofs[2:])


# -- tunings


def test_a_tuning_comes_back_and_a_new_one_for_the_same_machine_takes_its_place(
    registry: Registry, tmp_path: Path
) -> None:
    registry.apply(report(RICH))
    registry.record_tuning(TUNED)
    later = replace(TUNED, threads=2, prefill_chunk_tokens=64, max_concurrent=None, tuned_s=171.0)
    others = replace(TUNED, machine="Another", tuned_s=180.0), replace(TUNED, runtime="newer", tuned_s=190.0)
    for each in (later, *others):
        registry.record_tuning(each)
    assert registry.tunings() == (later, *others)
    with Registry.open(tmp_path / "state" / "registry.db") as opened:
        assert opened.tunings() == (later, *others)


def test_a_tuning_holds_for_the_content_it_was_made_with_and_is_forgotten_with_all_others(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.record_tuning(TUNED)
    registry.apply(report(replace(RICH, content="other", fingerprint="g")))
    assert registry.tunings() == ()
    registry.forget_tunings(RICH.id)
    registry.apply(report(RICH))
    assert registry.tunings() == ()


def test_a_tuning_of_a_model_that_is_not_known_is_dropped_and_forgetting_it_is_nothing(registry: Registry) -> None:
    registry.record_tuning(TUNED)
    registry.forget_tunings(RICH.id)
    registry.apply(report(RICH))
    assert registry.tunings() == ()


def test_only_the_latest_tunings_of_a_model_are_kept(registry: Registry) -> None:
    registry.apply(report(RICH))
    some = [replace(TUNED, machine=f"{n}", tuned_s=float(n)) for n in range(MAX_TUNINGS + 2)]
    for each in some:
        registry.record_tuning(each)
    assert registry.tunings() == tuple(some[2:])


# -- what recording costs others


def test_recording_makes_nobody_read_the_models_again(registry: Registry, tmp_path: Path) -> None:
    registry.apply(report(RICH))
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        here, there = registry.models(), other.models()
        registry.record_measurements([MEASURED])
        assert other.measurements() == (MEASURED,)
        other.record_measurements([replace(MEASURED, threads=9)])
        assert len(registry.measurements()) == 2
        # The very objects: what is read again is equal, and not the same.
        assert registry.models() is here
        assert other.models() is there
        registry.pin(Task.CHAT, RICH.id)
        assert other.pins() == (Pin(Task.CHAT, RICH.id),)
        assert other.models() is not there


def test_recording_leaves_the_sidecar_alone(registry: Registry, tmp_path: Path) -> None:
    registry.apply(report(RICH))
    registry.record_measurements([MEASURED])
    assert not (tmp_path / "state" / "registry.json").exists()


def test_what_only_a_newer_version_knows_is_passed_over(registry: Registry, tmp_path: Path) -> None:
    registry.apply(report(RICH))
    registry.record_measurements([MEASURED, replace(MEASURED, threads=9)])
    for score in (0.0, 0.25, 0.5):
        registry.add_evaluation(replace(SAID, score=score))
    registry.pin_pattern(Task.CHAT, "phi*", fallback=Fallback.AUTO)
    path = tmp_path / "state" / "registry.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE measurements SET device = 'quantum' WHERE threads = 9")
        connection.execute("UPDATE evaluations SET kind = 'duel' WHERE score = 0")
        connection.execute("UPDATE evaluations SET task = 'juggling' WHERE score = 0.5")
        connection.execute("UPDATE pins SET fallback = 'cloud'")
    with Registry.open(path) as other:
        assert other.measurements() == (MEASURED,)
        assert scores(other) == [0.25]
        assert other.pins()[0].fallback is Fallback.ERROR
        other.add_evaluation(replace(SAID, score=1.0))  # beside those, under a key of its own
        assert scores(other) == [0.25, 1.0]


def test_reading_measurements_needs_none_of_the_slow_imports(registry: Registry, tmp_path: Path) -> None:
    registry.apply(report(RICH))
    registry.record_measurements([MEASURED])
    registry.add_evaluation(SAID)
    path = tmp_path / "state" / "registry.db"
    code = (
        "import sys; from pathlib import Path; from registry.store import Registry\n"
        f"with Registry.open(Path({str(path)!r})) as registry:\n"
        "    print(len(registry.measurements()), len(registry.evaluations()), len(registry.pins()))\n"
        "print([name for name in ('sqlmodel', 'sqlalchemy', 'alembic') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n")[:2] == ["1 1 0", "[]"]


# -- evaluations


def test_evaluations_are_kept_beside_each_other_in_their_order(registry: Registry, tmp_path: Path) -> None:
    registry.apply(report(RICH))
    tests = [replace(SAID, kind=EvaluationKind.TEST, items=20, is_thinking=thinks) for thinks in (False, None)]
    for each in (SAID, *tests, SAID):
        registry.add_evaluation(each)
    expected = (SAID, *tests, SAID)
    assert registry.evaluations() == expected
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        assert other.evaluations() == expected
        assert [each.is_thinking for each in other.evaluations()] == [True, False, None, True]
        assert type(other.evaluations()[0].is_thinking) is bool


def test_an_evaluation_holds_for_the_content_it_was_made_with(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.add_evaluation(SAID)
    revised = replace(RICH, content="other", fingerprint="g")
    registry.apply(report(revised))
    assert registry.evaluations() == ()
    registry.add_evaluation(said_of(revised, score=0.5))
    assert scores(registry) == [0.5]
    registry.apply(report(RICH))
    assert scores(registry) == [SAID.score]


def test_an_evaluation_needs_a_model(registry: Registry) -> None:
    with pytest.raises(ModelNotFound):
        registry.add_evaluation(SAID)
    with pytest.raises(ModelNotFound):
        registry.forget_evaluations(RICH.id)


def test_evaluations_are_forgotten_by_task_or_all_together(registry: Registry) -> None:
    other = variant("other")
    registry.apply(report(RICH, other))
    for said in (SAID, replace(SAID, content="old"), replace(SAID, task=Task.CHAT), said_of(other)):
        registry.add_evaluation(said)
    assert registry.forget_evaluations(RICH.id, Task.MATH) == 0
    assert registry.forget_evaluations(RICH.id.upper(), Task.CODE) == 2
    assert registry.evaluations() == (replace(SAID, task=Task.CHAT), said_of(other))
    assert registry.forget_evaluations(RICH.id) == 1
    assert registry.forget_evaluations(RICH.id) == 0
    assert registry.evaluations() == (said_of(other),)


def test_the_oldest_evaluations_of_a_model_for_a_task_go(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_EVALUATIONS >= 100
    monkeypatch.setattr("registry.index.choices.MAX_EVALUATIONS", 3)
    registry.apply(report(RICH))
    registry.add_evaluation(replace(SAID, task=Task.CHAT))
    for at_s in (5.0, 1.0, 2.0, 4.0, 3.0):
        registry.add_evaluation(replace(SAID, evaluated_s=at_s))
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        for each in (registry, other):
            left = [said.evaluated_s for said in each.evaluations() if said.task is Task.CODE]
            assert left == [5.0, 4.0, 3.0]
            assert len(each.evaluations()) == 4


@given(
    score=st.floats(0, 1),
    items=st.integers(0, 10**9),
    is_thinking=st.sampled_from([None, False, True]),
    notes=st.text(),
)
def test_an_evaluation_survives_its_columns(score: float, items: int, is_thinking: bool | None, notes: str) -> None:
    said = replace(SAID, score=score, items=items, is_thinking=is_thinking, notes=notes)
    stored = StoredEvaluation(3, 4, said)
    assert list(evaluations([evaluation_columns(stored)])) == [stored]


# -- several at once


def _experience(path: str, name: str, rounds: int, started: Any) -> None:
    started.wait()
    with Registry.open(Path(path)) as registry:
        for number in range(rounds):
            registry.record_measurements([of(RICH, threads=1 if name == "x" else 2, answers=number)])
            registry.add_evaluation(replace(SAID, notes=f"{name} {number}"))


def test_two_processes_write_what_they_saw_and_nothing_is_lost(tmp_path: Path) -> None:
    path, rounds = tmp_path / "r.db", 10
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    with Registry.open(path) as registry:
        registry.apply(report(RICH))
        arguments = [(str(path), name, rounds, started) for name in ("x", "y")]
        processes = [context.Process(target=_experience, args=each) for each in arguments]
        for process in processes:
            process.start()
        started.set()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        assert [(each.threads, each.answers) for each in registry.measurements()] == [(1, rounds - 1), (2, rounds - 1)]
        notes = [each.notes for each in registry.evaluations()]
        assert sorted(notes) == sorted(f"{name} {number}" for name in ("x", "y") for number in range(rounds))


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["c", "d"]), st.sampled_from(list(Device)), st.integers(1, 3), st.floats(0, 1e9)),
        max_size=30,
    ),
    at_last=st.sampled_from(["c", "d"]),
)
def test_what_is_read_is_the_last_that_was_recorded_of_the_present_content(
    steps: list[tuple[str, Device, int, float]], at_last: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """18 combinations at most, of which 16 are kept."""
    with Registry.open(tmp_path_factory.mktemp("r") / "r.db") as registry:
        registry.apply(report(RICH))
        expected: dict[tuple[str, Device, int], Measurement] = {}
        for content, device, threads, at_s in steps:
            each = replace(MEASURED, content=content, device=device, threads=threads, measured_s=at_s)
            registry.record_measurements([each])
            expected[content, device, threads] = each
        registry.apply(report(replace(RICH, content=at_last)))
        read = registry.measurements()
        holding = [each for each in expected.values() if each.content == at_last]
        assert set(read) <= set(holding)
        if len(expected) <= MAX_MEASUREMENTS:
            assert set(read) == set(holding)
        assert list(read) == sorted(read, key=lambda each: (each.device, each.threads))
