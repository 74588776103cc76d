from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.model_factory import Quantization, write_preset


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folders of tiny models by precision; read only."""
    root = tmp_path_factory.mktemp("batched")
    return {
        name: write_preset("tiny", root / name, quantization=Quantization.parse(name))
        for name in ("fp32", "int4", "int8")
    }
