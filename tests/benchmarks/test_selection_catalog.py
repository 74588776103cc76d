"""The models of the simulation: real ones, known to the table of published scores, with the sizes that exports have."""

from __future__ import annotations

import pytest

from benchmarks.selection.catalog import catalog
from benchmarks.selection.crowd import crowd, in_folders_of
from registry.model import Device, Precision, Task
from selector.quality import estimate_quality
from tests.selector.samples import make_model

BY_NAME = {model.name: model for model in catalog()}


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("qwen2.5-0.5b-instruct-generic-cpu", 0.80),
        ("qwen2.5-1.5b-instruct-generic-cpu", 1.78),
        ("qwen2.5-7b-instruct-generic-cpu", 6.16),
        ("phi-3.5-mini-instruct-generic-cpu", 2.53),
        ("phi-4-mini-instruct-generic-cpu", 4.80),
        ("phi-4-generic-cpu", 10.16),
    ],
)
def test_weights_are_as_large_as_in_foundrys_catalog(name: str, gigabytes: float) -> None:
    assert BY_NAME[name].weight_bytes / 1e9 == pytest.approx(gigabytes, rel=0.06)


def test_every_model_has_its_own_id_and_enough_of_them_write_text() -> None:
    models = catalog()

    assert len({model.id for model in models}) == len(models)
    assert len({model.alias for model in models if Task.CHAT in model.tasks}) == 39


def test_published_scores_are_found_behind_the_names_of_all_variants() -> None:
    for name in ("qwen2.5-7b-instruct", "qwen3-4b", "phi-4", "gemma-3-12b-it"):
        variants = [model for model in BY_NAME.values() if model.alias == name]

        assert len(variants) > 1
        assert all("published" in estimate_quality(model, Task.CHAT).source for model in variants)


def test_thinking_models_can_be_asked_in_both_ways_only_where_the_original_can() -> None:
    switches = {model.alias for model in BY_NAME.values() if model.has_thinking_switch}

    assert "qwen3-8b" in switches
    assert "qwen3-4b-instruct-2507" not in switches
    assert not any(name.startswith("deepseek") for name in switches)


def test_a_crowd_has_three_variants_of_each_and_is_the_same_every_time() -> None:
    models = crowd(50)

    assert len({model.id for model in models}) == 150
    assert models == crowd(50)
    assert models != crowd(50, seed=2)
    assert {model.device for model in models} == {Device.CPU}
    assert {(model.precision, model.accuracy_level) for model in models} == {
        (Precision.INT4, 4),
        (Precision.INT4, 0),
        (Precision.INT8, None),
    }


def test_facts_take_the_place_of_what_the_folders_say_but_not_their_identity() -> None:
    facts = crowd(1)
    found = [make_model(f"found-{number}", fingerprint=f"f{number}", content=f"c{number}") for number in range(3)]

    merged = in_folders_of(facts, found)

    assert [model.weight_bytes for model in merged] == [model.weight_bytes for model in facts]
    assert [(model.path, model.fingerprint, model.content) for model in merged] == [
        (model.path, model.fingerprint, model.content) for model in found
    ]
