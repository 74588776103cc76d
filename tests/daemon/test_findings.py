from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon import __version__
from daemon.findings import (
    Level,
    daemon_finding,
    database_findings,
    disk_finding,
    failure_findings,
    folder_findings,
    model_findings,
    pin_findings,
    root_findings,
    version_finding,
)
from registry.index.health import DatabaseHealth
from registry.index.migrations import HEAD
from registry.model import FolderProblem, Model, Pin, Problem, Root, Source, Status, Task
from tests.fakes import a_model

MODELS = Path("/models")


@pytest.mark.parametrize(
    ("health", "level", "says"),
    [
        (DatabaseHealth(MODELS, HEAD, 5000), Level.OK, "whole"),
        (DatabaseHealth(MODELS, "0000", 5000), Level.OK, "another version"),
        (DatabaseHealth(MODELS, None, 0), Level.NOTE, "no registry"),
        (DatabaseHealth(MODELS, HEAD, 5000, ("row 3 missing",)), Level.PROBLEM, "row 3 missing"),
    ],
)
def test_the_state_of_the_database_is_told(health: DatabaseHealth, level: Level, says: str) -> None:
    (finding,) = database_findings(health)
    assert (finding.level, says in finding.message) == (level, True)


def test_each_root_is_told_with_what_is_wrong_with_it() -> None:
    def root(name: str, **fields: bool) -> Root:
        return Root(MODELS / name, Source.FOLDER, **fields)

    roots = [
        root("fine"),
        root("off", is_enabled=False),
        root("usb", exists=False, added_by_user=True),
        root("foundry", exists=False),
        root("locked"),
        root("nfs"),
    ]
    watching = [{"path": str(MODELS / "nfs"), "method": "polling", "reason": "it is on a network file system"}]
    models = [a_model("a", path=MODELS / "fine" / "a"), a_model("b", path=MODELS / "fine" / "b", status=Status.MISSING)]
    found = list(root_findings(roots, models, lambda path: path.name != "locked", {"watching": watching}))
    assert [finding.level for finding in found] == [
        *(Level.OK, Level.OK, Level.NOTE, Level.OK, Level.PROBLEM, Level.NOTE)
    ]
    assert "1 models" in found[0].message
    assert "network" in found[5].message
    assert [finding.advice for finding in found[:2]] == [None, None]


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


def test_the_disk_is_asked_also_before_the_home_is_there(tmp_path: Path) -> None:
    finding = disk_finding(tmp_path / "not" / "yet")
    assert finding.subject == "disk"
    assert "free" in finding.message


def test_versions_are_told_and_an_engine_is_needed() -> None:
    assert version_finding({"onnxruntime-genai-cuda": "0.18.0", "onnxruntime": "1.31.1"}.get).level is Level.OK
    missing = version_finding(lambda _: None)
    assert missing.level is Level.PROBLEM
    assert "pip install" in (missing.advice or "")


def test_a_daemon_of_another_version_has_to_be_restarted() -> None:
    status = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "sessions": 0, "version": __version__}
    assert daemon_finding(None).level is Level.OK
    assert daemon_finding(status).level is Level.OK
    assert daemon_finding({**status, "version": "0.0.1"}).level is Level.PROBLEM


def test_models_that_failed_are_a_problem_with_the_reason_of_each() -> None:
    failures = {"m:1": {"kind": "out_of_memory", "message": "bad alloc", "retry_s": 15.0}}
    (finding,) = failure_findings({"failures": failures})
    assert (finding.level, finding.items) == (Level.PROBLEM, ("m:1 (out_of_memory): bad alloc",))
    assert list(failure_findings({"failures": {}})) == list(failure_findings(None)) == []
