from __future__ import annotations

from pathlib import Path

import pytest

from scripts.model_factory import write_preset


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model folder with random weights; read only."""
    return write_preset("tiny", tmp_path_factory.mktemp("models") / "tiny")
