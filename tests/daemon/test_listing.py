from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from daemon.listing import Listing, Marks
from daemon.shapes import model_json
from registry.model import Model, Status, Task
from tests.fakes import a_model

MODELS = tuple(a_model(f"m{number:04}", evidence={"tasks": "line\nbreak ü"}) for number in range(1000))


def listed(listing: Listing, models: tuple[Model, ...], marks: Marks | None = None, **page: Any) -> list[Any]:
    records = list(chain.from_iterable(listing.records(models, marks or Marks(), **page)))
    assert all(json.loads(record)["id"] == model.id for model, record in records)
    return [json.loads(record) for _model, record in records]


def test_what_is_encoded_is_what_the_shape_says() -> None:
    assert listed(Listing(), MODELS) == [model_json(model) for model in MODELS]


@pytest.mark.parametrize(
    ("offset", "limit"), [(0, 1), (0, 100), (1, 999), (63, 2), (500, 100), (999, 1), (990, 100), (1000, 5), (5000, 1)]
)
def test_a_page_is_the_same_part_of_the_whole(offset: int, limit: int) -> None:
    expected = [model.id for model in MODELS[offset : offset + limit]]
    assert [model["id"] for model in listed(Listing(), MODELS, offset=offset, limit=limit)] == expected


def test_marks_are_put_in_when_asked_for_and_are_not_remembered() -> None:
    listing = Listing()
    marks = Marks({"m0001:1", "m0500:1"}, {"m0001:1": [Task.TOOLS, Task.CHAT], "gone:1": [Task.MATH]})
    marked = {model["id"]: model for model in listed(listing, MODELS, marks)}
    assert marked["m0001:1"] == model_json(MODELS[1], loaded=True, pinned_for=[Task.CHAT, Task.TOOLS])
    assert (marked["m0500:1"]["loaded"], marked["m0500:1"]["pinned_for"]) == (True, [])
    assert (marked["m0002:1"]["loaded"], marked["m0002:1"]["pinned_for"]) == (False, [])
    assert not any(model["loaded"] for model in listed(listing, MODELS))


def test_what_was_measured_is_a_mark_too() -> None:
    listing = Listing()
    measured = {"tokens_per_second": 12.5, "answers": 3}
    listed(listing, MODELS)
    marked = {each["id"]: each for each in listed(listing, MODELS, Marks(measured={"m0002:1": measured}))}
    assert marked["m0002:1"] == model_json(MODELS[2], measured=measured)
    assert (marked["m0002:1"]["measured"], marked["m0001:1"]["measured"]) == (measured, {})
    assert not any(each["measured"] for each in listed(listing, MODELS))


def test_why_a_model_failed_is_a_mark_too() -> None:
    failure = {"kind": "missing_file", "message": "model.onnx is missing", "retry_s": 15.0}
    marked = {each["id"]: each for each in listed(Listing(), MODELS, Marks(failures={"m0002:1": failure}))}
    assert marked["m0002:1"] == model_json(MODELS[2], failure=failure)
    assert (marked["m0002:1"]["failure"], marked["m0001:1"]["failure"]) == (failure, None)


def test_each_change_is_seen_and_leaves_the_rest_as_it_was() -> None:
    listing = Listing()
    listing.refresh(MODELS)
    broken = replace(MODELS[7], status=Status.INVALID)
    steps = (
        (*MODELS[:7], broken, *MODELS[8:]),
        (*MODELS[:7], *MODELS[8:]),
        (a_model("another"), *MODELS),
        tuple(reversed(MODELS)),
        (),
        MODELS[:1],
    )
    for models in steps:
        assert listed(listing, models) == [model_json(model) for model in models]


def test_every_change_has_a_version_of_its_own() -> None:
    listing = Listing()
    seen = [listing.version_of(models) for models in (MODELS, MODELS, MODELS[:1], MODELS)]
    assert seen[0] == seen[1]
    assert len({*seen}) == 3


def test_a_new_model_among_many_does_not_make_the_others_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counting(model: Model) -> Any:
        made.append(model.id)
        return model_json(model)

    monkeypatch.setattr("daemon.listing.model_json", counting)
    listing = Listing()
    listing.refresh(MODELS)
    assert len(made) == len(MODELS)
    made.clear()
    listing.refresh((*MODELS[:400], a_model("m0400a"), *MODELS[400:]))
    assert 1 <= len(made) <= 2 * 256 + 1


def test_the_record_of_a_model_takes_little_memory() -> None:
    listing = Listing()
    tracemalloc.start()
    try:
        listing.refresh(MODELS)
        kept_bytes, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 300 * len(MODELS)
    assert len(listed(listing, MODELS)) == len(MODELS)
