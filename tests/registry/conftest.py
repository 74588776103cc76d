"""Real model folders, made once per session and copied where a test wants one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.model import Root, Source
from registry.store import Registry
from scripts.model_factory import write_preset

PlaceModel = Callable[..., Path]


@pytest.fixture(scope="session")
def model_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset("tiny", tmp_path_factory.mktemp("template") / "tiny")


@pytest.fixture
def place_model(model_template: Path) -> PlaceModel:
    """``place_model(folder, name="phi:1", config={...})``: a tiny model, its configuration merged with ``config``."""

    def place(folder: Path, *, name: str | None = None, config: dict[str, Any] | None = None) -> Path:
        shutil.copytree(model_template, folder)
        if name is not None:
            (folder / "inference_model.json").write_text(json.dumps({"Name": name}), encoding="utf-8")
        if config is not None:
            path = folder / "genai_config.json"
            merged = _merged(json.loads(path.read_text(encoding="utf-8")), config)
            path.write_text(json.dumps(merged), encoding="utf-8")
        return folder

    return place


def _merged(base: Any, more: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    return {**base, **{key: _merged(base.get(key), value) for key, value in more.items()}}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    path = tmp_path / "models"
    path.mkdir()
    return Root(path.resolve(), Source.FOLDER, added_by_user=True)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "state" / "registry.db") as opened:
        yield opened
