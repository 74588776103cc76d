"""Models in every layout, indexed by a real daemon; all that onnxruntime-genai can run on a CPU answer through it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.model_factory.layouts import (
    FOLDERS,
    Expectation,
    foundry_cache,
    hugging_face_cache,
    model_package,
    multimodal,
    olive_output,
    optimum_export,
    special,
    with_encoders,
)
from tests.e2e.conftest import Home, Served


def placed(root: Path, expectations: tuple[Expectation, ...]) -> dict[Path, Expectation]:
    return {(root / each.path).resolve(): each for each in expectations}


@pytest.fixture
def everything(home: Home) -> dict[Path, Expectation]:
    """Folders that a person added, a Foundry cache and a Hugging Face cache, where the home looks for them."""
    folders = (special, multimodal, with_encoders, olive_output, model_package, optimum_export)
    written = [(home.models / layout.__name__, layout) for layout in folders]
    written += [(home.path / "foundry", foundry_cache), (home.path / "hf", hugging_face_cache)]
    return {path: each for root, layout in written for path, each in placed(root, layout(root)).items()}


def by_path(models: list[dict[str, Any]]) -> Mapping[Path, dict[str, Any]]:
    return {Path(model["path"]): model for model in models if model["source"] != "demo"}


def test_every_layout_is_listed_and_what_can_run_answers(home: Home, everything: dict[Path, Expectation]) -> None:
    served = home.start(max_context_tokens=256)
    models = by_path(served.get("/slmreg/models")["data"])
    problems = {Path(each["path"]): each for each in served.get("/slmreg/problems")["data"]}

    assert {path: model["status"] for path, model in models.items()} == {
        path: each.status for path, each in everything.items() if each.facts
    }
    assert {path: (each["code"],) for path, each in problems.items()} == {
        path: each.problems for path, each in everything.items() if not each.facts
    }
    for path, expectation in everything.items():
        if expectation.answers:
            assert answer(served, models[path]["id"]) == models[path]["id"]


def test_every_type_of_decoder_can_be_asked(home: Home) -> None:
    expectations = placed(home.models, FOLDERS["decoders"](home.models))
    served = home.start(max_context_tokens=256)
    models = by_path(served.get("/slmreg/models")["data"])

    assert models.keys() == expectations.keys()
    for model in models.values():
        assert answer(served, model["id"]) == model["id"]


def answer(served: Served, model_id: str) -> str:
    """The id of the model that answered four tokens; it is unloaded again, for there are many."""
    messages = [{"role": "user", "content": "hello"}]
    client = served.openai
    completion = client.chat.completions.create(model=model_id, messages=messages, max_tokens=4, temperature=0)
    assert completion.usage.completion_tokens == 4
    served.post("/slmreg/unload", {"model": model_id}).raise_for_status()
    return str(completion.model)
