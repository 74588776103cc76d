from __future__ import annotations

from pathlib import Path

import pytest

from scripts.model_factory import Quantization, write_preset


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model folder with random weights, in fp32, so that the cut of a prompt decides no close choice.

    Read only.
    """
    return write_preset("tiny", tmp_path_factory.mktemp("models") / "tiny", quantization=Quantization.FP32)


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    copy = tmp_path / "model"
    copy.mkdir()
    for file in tiny_model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy
