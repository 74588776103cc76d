from __future__ import annotations

from pathlib import Path

import pytest

from daemon.doctor.finding import Level
from daemon.doctor.models import doubt_findings, folder_findings, model_findings, pin_findings
from registry.model import FolderProblem, Model, Pin, Problem, Source, Status, Task
from registry.reading.family_template import FAMILY_DEFAULT
from tests.fakes import a_model

MODELS = Path("/models")


def test_folders_are_summed_up_by_what_is_wrong() -> None:
    problems = [
        FolderProblem(MODELS / "a", "graph_missing", "model.onnx is not there."),
        FolderProblem(MODELS / "b", "graph_missing", "other.onnx is not there."),
        FolderProblem(MODELS / "c", "unfinished", "Wait.", status=Status.PARTIAL),
    ]
    blocked = a_model("d", status=Status.BLOCKED, problems=(Problem("custom_ops_library", "Allow it."),))
    damaged = a_model("e", status=Status.INVALID, problems=(Problem("content_damaged", "Copy it again."),))
    usable = a_model("f", problems=(Problem("no_chat_template", "Add one."),))
    found = {finding.subject: finding for finding in folder_findings(problems, [blocked, damaged, usable])}
    assert {subject: finding.level for subject, finding in found.items()} == {
        "graph_missing": Level.PROBLEM,
        "unfinished": Level.NOTE,
        "custom_ops_library": Level.NOTE,
        "content_damaged": Level.PROBLEM,
    }
    assert found["graph_missing"].items == (str(MODELS / "a"), str(MODELS / "b"))
    assert "e:1: Copy it again." in found["content_damaged"].message


def test_doubts_about_models_that_can_be_used_are_notes() -> None:
    doubtful = [a_model(name, problems=(Problem("no_chat_template", "Add one."),)) for name in "ab"]
    twice = a_model("c", problems=(Problem("duplicate_id", "Two are called so."),))
    broken = a_model("d", status=Status.INVALID, problems=(Problem("graph_invalid", "Copy it again."),))
    borrowed = a_model("e", chat_template=f"{FAMILY_DEFAULT}: chatml")
    finding, template = doubt_findings([*doubtful, twice, broken, borrowed])
    assert (finding.level, finding.subject, finding.items) == (Level.NOTE, "no_chat_template", ("a:1", "b:1"))
    assert (template.subject, "e:1" in template.message) == ("template", True)


def test_folders_with_much_that_is_never_loaded_are_named() -> None:
    sizes = {"lean": (10**9, 10**9 + 20_000_000), "twice": (10**9, 2 * 10**9), "tiny": (1000, 99_000_000)}
    models = [a_model(name, weight_bytes=used, size_bytes=size) for name, (used, size) in sizes.items()]
    models.append(a_model("adapted", weight_bytes=10**9, size_bytes=2 * 10**9, adapters=("legal",)))
    (finding,) = [finding for finding in model_findings(models) if finding.subject == "unused files"]
    assert (finding.level, finding.items) == (Level.NOTE, ("twice:1: 1.0 GB in /models/twice",))


def test_models_are_summed_up() -> None:
    models = [
        a_model("checked", verified_s=1.0),
        a_model("unchecked"),
        a_model("gone", status=Status.MISSING, missing_since_s=86400.0),
        a_model("copied", verified_s=1.0, locations=(MODELS / "again",)),
        a_model("renamed-1f3a", verified_s=1.0, problems=(Problem("duplicate_id", "Two are called so."),)),
    ]
    found = {finding.subject: finding for finding in model_findings(models)}
    assert {finding.level for finding in found.values()} == {Level.OK, Level.NOTE}
    assert "4 can be used" in found["models"].message
    assert found["verified"].items == ("unchecked:1",)
    assert found["missing"].items == ("gone:1 since 1970-01-02, was at /models/gone",)
    assert found["duplicates"].items == ("renamed-1f3a:1",)
    assert found["copies"].items == ("copied:1: /models/copied", "copied:1: /models/again")


@pytest.mark.parametrize("models", [[], [a_model("demo", source=Source.DEMO)]])
def test_a_machine_without_models_is_told_how_to_get_one(models: list[Model]) -> None:
    first = next(iter(model_findings(models)))
    assert first.level is Level.NOTE
    assert "roots add" in (first.advice or "")


def test_pins_that_cannot_serve_are_problems_and_those_that_wait_are_not() -> None:
    pins = [Pin(Task.CHAT, "a:1"), Pin(Task.CODE, "b:1"), Pin(Task.MATH, "phi", is_waiting=True)]
    found = list(pin_findings(pins, lambda pin: "It is missing." if pin.model_id == "b:1" else None))
    assert [finding.level for finding in found] == [Level.OK, Level.PROBLEM, Level.NOTE]
    assert "It is missing." in found[1].message
    assert "unpin code" in (found[1].advice or "")


def test_a_pattern_is_told_by_what_it_means_now_and_binds_although_nothing_fits_it() -> None:
    pins = [Pin(Task.CHAT, "phi-4:5", pattern="phi-4*"), Pin(Task.CODE, "phi-9*", is_waiting=True, pattern="phi-9*")]
    found = list(pin_findings(pins, lambda pin: "nothing fits" if pin.is_waiting else None))
    assert [(finding.level, finding.message) for finding in found] == [
        (Level.OK, "phi-4:5"),
        (Level.PROBLEM, "phi-9* cannot serve. Nothing fits."),
    ]
