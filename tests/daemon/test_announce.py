from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daemon.announce import News, View, differences
from daemon.shapes import pin_event_json
from registry.model import FolderProblem, Model, Pin, Root, Source, Status, Task
from tests.fakes import a_model


def kinds(before: View, after: View) -> list[tuple[str, Any]]:
    return [(news.kind, news.data) for news in differences(before, after)]


def test_a_model_comes_changes_goes_and_comes_back() -> None:
    here = a_model("m", path=Path("/a/m"))
    changed = replace(here, revision=2)
    gone = replace(changed, status=Status.MISSING)
    told = {"id": "m:1", "alias": "m", "path": str(Path("/a/m")), "source": "folder", "status": "ready"}
    missing = {**told, "status": "missing"}
    steps: Sequence[tuple[Sequence[Model], Sequence[Model], list[Any]]] = (
        ((), (here,), [("model.added", told)]),
        ((here,), (changed,), [("model.updated", told)]),
        ((changed,), (gone,), [("model.missing", missing)]),
        ((gone,), (gone,), []),
        ((gone,), (changed,), [("model.added", told)]),
        ((changed,), (), [("model.missing", missing)]),
        ((gone,), (), []),
    )
    for before, after, expected in steps:
        assert kinds(View(models=before), View(models=after)) == expected


def test_a_model_that_breaks_is_updated_and_says_its_new_status() -> None:
    here = a_model("m")
    ((kind, data),) = kinds(View(models=(here,)), View(models=(replace(here, status=Status.INVALID),)))
    assert (kind, data["status"]) == ("model.updated", "invalid")


def test_a_problem_that_becomes_another_one_is_solved_and_found() -> None:
    one = FolderProblem(Path("/a"), "unfinished", "wait", "download.tmp", Status.PARTIAL)
    other = replace(one, code="graph_missing")
    assert [(kind, data["code"]) for kind, data in kinds(View(problems=(one,)), View(problems=(other,)))] == [
        ("problem.solved", "unfinished"),
        ("problem.found", "graph_missing"),
    ]


def test_a_root_is_added_vanishes_is_switched_off_and_removed() -> None:
    root = Root(Path("/a"), Source.FOLDER, added_by_user=True)
    steps: Sequence[tuple[Sequence[Root], Sequence[Root], Any]] = (
        ((), (root,), (True, True, True)),
        ((root,), (replace(root, exists=False),), (False, True, False)),
        ((root,), (replace(root, is_enabled=False),), (True, False, False)),
        ((root,), (), (True, False, False)),
    )
    for before, after, expected in steps:
        ((kind, data),) = kinds(View(roots=before), View(roots=after))
        assert kind == "root.changed"
        assert (data["exists"], data["enabled"], data["searched"]) == expected
    assert kinds(View(roots=(root,)), View(roots=(root,))) == []


def test_pins_are_made_changed_and_undone() -> None:
    one, other = Pin(Task.CHAT, "m:1"), Pin(Task.CHAT, "phi", is_waiting=True)
    assert kinds(View(), View(pins=(one,))) == [
        ("pin.changed", pin_event_json(one)),
    ]
    assert kinds(View(pins=(one,)), View(pins=(other,))) == [
        ("pin.changed", pin_event_json(other)),
    ]
    assert kinds(View(pins=(other,)), View()) == [
        ("pin.changed", {"task": "chat", "model": None, "waiting": False}),
    ]


def models() -> st.SearchStrategy[tuple[Model, ...]]:
    model = st.builds(
        lambda name, status, revision: a_model(name, status=status, revision=revision),
        st.sampled_from("abcd"),
        st.sampled_from([Status.READY, Status.PARTIAL, Status.MISSING]),
        st.integers(1, 2),
    )
    return st.lists(model, max_size=4, unique_by=lambda each: each.id).map(tuple)


@given(models(), models())
def test_a_list_and_the_events_after_it_amount_to_the_new_list(before: Sequence[Model], after: Sequence[Model]) -> None:
    listed = {model.id: str(model.status) for model in before if model.status is not Status.MISSING}
    for news in differences(View(models=before), View(models=after)):
        _follow(listed, news)
    assert listed == {model.id: str(model.status) for model in after if model.status is not Status.MISSING}


def _follow(listed: dict[str, str], news: News) -> None:
    """What a client does with an event."""
    model_id = news.data["id"]
    match news.kind:
        case "model.added":
            assert model_id not in listed
            listed[model_id] = news.data["status"]
        case "model.updated":
            assert model_id in listed
            listed[model_id] = news.data["status"]
        case "model.missing":
            del listed[model_id]


def test_what_is_said_can_be_sent() -> None:
    before = View(models=(a_model("a"),), pins=(Pin(Task.CHAT, "a:1"),))
    after = View(problems=(FolderProblem(Path("/ü"), "x", "y"),), roots=(Root(Path("/r"), Source.DEMO),))
    for news in differences(before, after):
        assert json.loads(json.dumps(news.data)) == news.data
        assert news.said
