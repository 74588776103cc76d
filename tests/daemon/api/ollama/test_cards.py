"""Models and presets as Ollama's clients see them, key by key as its API reference has them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from daemon.api.ollama.cards import Cards
from daemon.catalog import Catalog
from registry.model import Device, Model, Precision, Preset, Task
from tests.daemon.api.test_sessions import SESSION
from tests.fakes import a_model

PHI = a_model(
    "phi-4",
    "5",
    tasks=(Task.CHAT, Task.TOOLS),
    family="phi",
    model_type="phi3",
    parameters=3_800_000_000,
    precision=Precision.INT4,
    size_bytes=2_400_000_000,
    context_tokens=131_072,
    vocab_size=200_064,
    license="MIT",
    content="c",
)
DETAILS = {
    "parent_model": "",
    "format": "onnx",
    "family": "phi",
    "families": ["phi"],
    "parameter_size": "3.8B",
    "quantization_level": "INT4",
}
MARIO = Preset(
    name="mario",
    base="phi-4",
    system="Be Mario.",
    parameters={"temperature": 0.5, "stop": ["a", "b"]},
    messages=({"role": "user", "content": "hi"},),
    modified_s=1_700_000_000.5,
)


def cards(*requested: Model) -> Cards:
    catalog = SimpleNamespace(requested=lambda _reference: requested, most_context_tokens=lambda _model: 8192)
    return Cards(cast(Catalog, catalog))


def test_a_model_is_listed_by_its_id() -> None:
    tag = cards().tag(PHI)
    digest = tag.pop("digest")
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")
    assert tag.pop("modified_at") == "1970-01-01T00:00:00.000000Z"  # there is no such folder
    assert tag == {"name": "phi-4:5", "model": "phi-4:5", "size": 2_400_000_000, "details": DETAILS}


def test_a_digest_changes_with_the_model() -> None:
    digests = {cards().tag(model)["digest"] for model in (PHI, replace(PHI, content="d"), replace(PHI, version="6"))}
    assert len(digests) == 3


def test_a_preset_is_listed_with_the_tag_that_clients_add_and_the_size_of_its_model() -> None:
    tag = cards(PHI).preset_tag(MARIO)
    assert (tag["name"], tag["model"], tag["size"]) == ("mario:latest", "mario:latest", 2_400_000_000)
    assert tag["details"] == {**DETAILS, "parent_model": "phi-4"}
    assert tag["modified_at"] == "2023-11-14T22:13:20.500000Z"
    assert cards(PHI).preset_tag(replace(MARIO, name="mario:v2"))["name"] == "mario:v2"
    gone = cards().preset_tag(MARIO)
    assert (gone["size"], gone["details"]["families"]) == (0, [])


def test_a_model_is_shown_with_what_a_request_can_have_of_it() -> None:
    shown = cards().of_model(PHI)
    assert shown.pop("modified_at")
    assert shown == {
        "modelfile": "FROM phi-4:5\n",
        "parameters": "",
        "template": "",
        "details": DETAILS,
        "model_info": {
            "general.architecture": "phi3",
            "general.basename": "phi-4",
            "general.parameter_count": 3_800_000_000,
            "phi3.context_length": 8192,
            "phi3.vocab_size": 200_064,
        },
        "capabilities": ["completion", "tools"],
        "license": "MIT",
    }


@pytest.mark.parametrize(
    ("model", "capabilities"),
    [
        (replace(PHI, tasks=(Task.EMBEDDINGS,)), ["embedding"]),
        (replace(PHI, tasks=(Task.CHAT, Task.VISION), can_reason=True), ["completion", "vision", "thinking"]),
        (replace(PHI, tasks=(Task.TRANSCRIPTION,)), []),
    ],
)
def test_what_a_model_can_do_is_told_in_ollamas_words(model: Model, capabilities: list[str]) -> None:
    assert cards().of_model(model)["capabilities"] == capabilities


def test_a_preset_is_shown_with_how_its_model_is_asked() -> None:
    shown = cards(PHI).of_preset(MARIO)
    assert shown["system"] == "Be Mario."
    assert shown["parameters"].split() == ["temperature", "0.5", "stop", '"a"', "stop", '"b"']
    assert shown["messages"] == [{"role": "user", "content": "hi"}]
    assert shown["modelfile"].startswith("FROM phi-4\n")
    assert shown["model_info"]["phi3.context_length"] == 8192
    assert cards().of_preset(MARIO)["capabilities"] == ["completion"]


@pytest.mark.parametrize(("expires_s", "stays"), [(60.0, timedelta(seconds=60)), (None, timedelta(days=36_500))])
def test_a_loaded_model_says_how_long_it_stays(expires_s: float | None, stays: timedelta) -> None:
    running = cards().running(replace(SESSION, expires_s=expires_s), PHI)
    until = datetime.fromisoformat(running.pop("expires_at")) - datetime.now(UTC)
    assert abs(until - stays) < timedelta(seconds=30)
    assert running.pop("digest") == cards().tag(PHI)["digest"]
    assert running == {
        "name": "phi-4:5",
        "model": "phi-4:5",
        "size": 1000,
        "details": DETAILS,
        "size_vram": 0,
        "context_length": 4096,
    }
    on_gpu = replace(PHI, device=Device.GPU)
    assert cards().running(SESSION, on_gpu)["size_vram"] == 1000
