from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry.model import Model, Source
from registry.reading.folder import Surroundings, read_model_folder

HUB_NAME = "Qwen/Qwen2.5-0.5B-Instruct"


def output(**attributes: Any) -> dict[str, Any]:
    return {"type": "ONNXModel", "config": {"model_path": "x/model", "model_attributes": attributes}}


def read(root: Path, folder: Path) -> Model:
    return read_model_folder(folder, Surroundings(root, Source.FOLDER))


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("place", [".", ".."])
def test_an_output_without_a_name_is_called_after_the_original(place: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "output_model" / "model")
    write(folder / place / "model_config.json", output(_name_or_path=HUB_NAME))
    model = read(tmp_path, folder)
    assert (model.name, model.alias, model.publisher) == ("Qwen2.5-0.5B-Instruct",) * 2 + ("Qwen",)
    assert model.evidence["name"] == model.evidence["publisher"] == "Olive's model_config.json"


def test_what_a_person_called_the_folder_goes_before(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "my-finetune" / "model")
    write(folder.parent / "model_config.json", output(_name_or_path=HUB_NAME))
    assert read(tmp_path, folder).alias == "my-finetune"


@pytest.mark.parametrize("is_nested", [True, False])
def test_the_first_step_names_the_original(is_nested: bool, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "output_model")
    write(folder / "model_config.json", output())
    original = {"type": "HfModel", "config": {"model_path": HUB_NAME, "task": "text-generation"}}
    steps = {"out": {"model_config": output()}, "in": {"model_config": original}, "search": None}
    write(folder / "footprint.json", {"nodes": steps} if is_nested else steps)
    assert read(tmp_path, folder).alias == "Qwen2.5-0.5B-Instruct"


@pytest.mark.parametrize("path", ["/home/ann/models/x", "C:\\models\\x", "./x", "../a/b", "models", "~/a", ""])
def test_a_place_on_somebodys_disk_is_no_name(path: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "output_model")
    write(folder / "model_config.json", output(_name_or_path=path))
    model = read(tmp_path, folder)
    assert (model.problems, model.publisher) == ((), None)
    assert model.evidence["name"] != "Olive's model_config.json"


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"config": 3}', '{"config": {"model_attributes": {"_name_or_path": 1}}}']
)
def test_a_broken_file_of_olive_costs_only_its_facts(content: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "phi")
    (folder / "model_config.json").write_text(content, encoding="utf-8")
    model = read(tmp_path, folder)
    assert model.tasks
    assert [(problem.code, problem.file) for problem in model.problems] == [
        ("model_config_invalid", "model_config.json")
    ]
