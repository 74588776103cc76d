"""Which engine runs a folder, for every kind that the factory writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.worker.folder import find_genai_config
from daemon.worker.kinds import EngineKind, kind_of
from scripts.model_factory.layouts import FOLDERS
from scripts.model_factory.text_encoder import write_text_encoder
from scripts.model_factory.vision import write_vision_model
from scripts.model_factory.whisper import write_whisper


def kind(folder: Path) -> EngineKind:
    return kind_of(folder, find_genai_config(folder))


def test_a_chat_model_writes_and_the_others_do_not(tiny_model: Path, tmp_path: Path) -> None:
    assert kind(tiny_model) is EngineKind.GENERATOR
    assert kind(write_vision_model(tmp_path / "vision")) is EngineKind.GENERATOR
    assert kind(write_text_encoder(tmp_path / "encoder")) is EngineKind.EMBEDDING
    assert kind(write_whisper(tmp_path / "whisper")) is EngineKind.TRANSCRIPTION


@pytest.mark.parametrize("layout", ["with_encoders", "multimodal", "decoders"])
def test_the_engine_of_a_folder_is_that_of_the_task_which_the_registry_sees_in_it(layout: str, tmp_path: Path) -> None:
    engines = {"embeddings": EngineKind.EMBEDDING, "transcription": EngineKind.TRANSCRIPTION}
    expectations = [each for each in FOLDERS[layout](tmp_path) if each.status == "ready" and each.facts["tasks"]]
    assert expectations
    for expectation in expectations:
        expected = engines.get(expectation.facts["tasks"][0], EngineKind.GENERATOR)
        assert kind(tmp_path / expectation.path) is expected, expectation.path
