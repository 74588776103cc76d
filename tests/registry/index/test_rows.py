from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from registry.index.rows import Sharing, facts_json, json_text, model_columns, stored_model
from registry.index.stored import StoredModel, Verdict
from registry.model import (
    Device,
    ExecutionProvider,
    Markers,
    Modality,
    Model,
    Precision,
    Problem,
    ScanReport,
    Source,
    Status,
    Task,
)
from registry.store import Registry
from tests.registry.samples import RICH

# Every field that a folder can declare, none at its default.
FULL = replace(
    RICH,
    source=Source.HUGGING_FACE,
    status=Status.BLOCKED,
    problems=(Problem("custom_ops_library", "Allow it.", "ops.so"), Problem("no_chat_template", "Copy one.")),
    tasks=(Task.CHAT, Task.VISION),
    active_parameters=1_000_000_000,
    block_size=32,
    execution_provider=ExecutionProvider.CUDA,
    device=Device.GPU,
    max_length=4096,
    max_output_tokens=2048,
    sliding_window=1024,
    kv_precision=Precision.FP16,
    modalities=(Modality.TEXT, Modality.IMAGE),
    has_chat_template=True,
    chat_template="chat_template.jinja",
    can_reason=True,
    has_thinking_switch=True,
    languages=("en", "de"),
    tool_markers=Markers("<tool>", "</tool>"),
    reasoning_markers=Markers("<think>", "</think>"),
    adapters=("a.onnx_adapter",),
    is_paged=True,
    custom_ops_library="ops.so",
    refs=("main",),
)
OF_THE_REGISTRY = {"locations", "revision", "missing_since_s", "verified_s"}


def stored(model: Model) -> StoredModel:
    return StoredModel(1, model, model.name, 10.0)


def back(columns: dict[str, Any]) -> Model:
    return stored_model(columns, (), None, Sharing()).model


def test_the_sample_has_a_value_of_its_own_in_every_field() -> None:
    plain = Model(name="", version="", alias="", path=Path(), source=Source.FOLDER)
    same = {field.name for field in fields(Model) if getattr(plain, field.name) == getattr(FULL, field.name)}
    assert same == OF_THE_REGISTRY


def test_every_field_comes_back_with_its_type() -> None:
    read = back(model_columns(stored(FULL)))
    assert read == FULL
    assert [type(getattr(read, field.name)) for field in fields(Model)] == [
        type(getattr(FULL, field.name)) for field in fields(Model)
    ]
    assert type(read.tasks[0]) is Task
    assert type(read.modalities[0]) is Modality


def test_what_is_at_its_default_takes_no_room() -> None:
    assert facts_json(Model(name="m", version="0", alias="m", path=Path("/m"), source=Source.FOLDER)) == "{}"


def test_what_only_a_newer_version_knows_reads_as_the_default() -> None:
    columns = model_columns(stored(FULL))
    facts = json.loads(columns["facts"])
    facts |= {"warmth": 7, "precision": "int2", "tasks": ["chat", "juggling"], "tool_markers": [1, 2, 3]}
    read = back({**columns, "facts": json_text(facts)})
    assert (read.precision, read.tasks, read.tool_markers) == (Precision.UNKNOWN, (), None)
    assert read.parameters == FULL.parameters


def test_values_that_models_have_in_common_are_one_object() -> None:
    sharing = Sharing()
    one, other = (stored_model(model_columns(stored(FULL)), (), None, sharing).model for _ in range(2))
    for name in ("alias", "tasks", "family", "license", "evidence", "tool_markers", "modalities"):
        assert getattr(one, name) is getattr(other, name)
    taken = sharing.model(replace(FULL, evidence=dict(FULL.evidence), tasks=(Task.CHAT, Task.VISION)))
    assert taken == FULL
    assert taken.evidence is one.evidence
    assert taken.tasks is one.tasks


def test_equal_values_of_different_fields_keep_their_types() -> None:
    sharing = Sharing()
    sharing.model(replace(FULL, refs=("chat",), tasks=()))
    assert type(sharing.model(replace(FULL, tasks=(Task.CHAT,))).tasks[0]) is Task
    assert sharing.model(replace(FULL, block_size=1, is_paged=True)).is_paged is True


def test_a_model_that_needs_nothing_added_is_the_declared_one() -> None:
    assert stored(FULL).model is stored(FULL).declared


def test_halves_of_surrogate_pairs_can_be_stored(tmp_path: Path) -> None:
    odd = replace(
        FULL,
        alias="phi\ud800",
        license="\udfff",
        evidence={"name": "\ud800"},
        problems=(Problem("custom_ops_library", "\ud800", "\ud800"),),
    )
    with Registry.open(tmp_path / "r.db") as registry:
        registry.apply(ScanReport((odd,), (), (Path("/r"),), 0.0))
    with Registry.open(tmp_path / "r.db") as registry:
        (read,) = registry.models()
        assert (read.license, read.evidence, read.problems) == (odd.license, odd.evidence, odd.problems)


# -- what the registry adds


def test_a_check_holds_for_its_fingerprint() -> None:
    ready = replace(FULL, status=Status.READY, problems=())
    verdict = Verdict("f", 5.0)
    assert replace(stored(ready), verdict=verdict).model.verified_s == 5.0
    assert replace(stored(replace(ready, fingerprint="g")), verdict=verdict).model.verified_s is None


def test_a_failed_check_makes_a_ready_or_blocked_model_invalid_and_no_other() -> None:
    damage = Problem("content_damaged", "Copy it again.", "model.onnx")
    verdict = Verdict("f", 5.0, (damage,))
    for status, expected in ((Status.READY, Status.INVALID), (Status.BLOCKED, Status.INVALID)):
        model = replace(stored(replace(FULL, status=status)), verdict=verdict).model
        assert (model.status, model.problems) == (expected, (*FULL.problems, damage))
    for status in (Status.MISSING, Status.PARTIAL):
        model = replace(stored(replace(FULL, status=status)), verdict=verdict).model
        assert (model.status, model.problems, model.verified_s) == (status, FULL.problems, None)
