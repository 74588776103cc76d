from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry.layouts.kinds import Layout, layout_of
from registry.layouts.unusable import problem_of
from registry.model import Source
from registry.reading.folder import Surroundings, read_model_folder


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        ({"genai_config.json", "manifest.json", "config.json", "model.onnx"}, Layout.GENAI),
        ({"inference_model.json"}, Layout.GENAI),
        ({"manifest.json", "cpu"}, Layout.PACKAGE),
        ({"config.json", "model.onnx"}, Layout.PLAIN_ONNX),
        ({"config.json", "onnx", "tokenizer.json"}, Layout.PLAIN_ONNX),
        ({"config.json", "model.safetensors"}, None),
        ({"model.onnx"}, None),
        (set(), None),
    ],
)
def test_names_tell_the_layout(names: set[str], layout: Layout | None) -> None:
    assert layout_of(names) is layout


# -- plain exports


def export(folder: Path, config: Any, graph: str = "model.onnx") -> Path:
    (folder / graph).parent.mkdir(parents=True)
    (folder / graph).write_bytes(b"")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("graph", ["model.onnx", "onnx/decoder_model_merged.onnx"])
def test_a_plain_export_is_told_with_what_would_make_it_usable(graph: str, tmp_path: Path) -> None:
    config = {"model_type": "qwen2", "_name_or_path": "Qwen/Qwen2.5-0.5B"}
    error = problem_of(export(tmp_path / "m", config, graph), Layout.PLAIN_ONNX)
    assert error is not None
    assert (error.code, error.file) == ("not_genai", Path(graph).name)
    assert "onnxruntime_genai.models.builder -m Qwen/Qwen2.5-0.5B" in error.message


@pytest.mark.parametrize("config", [{}, [], {"model_type": 3}, {"name": "an application"}])
def test_a_graph_beside_the_configuration_of_something_else_needs_no_word(config: Any, tmp_path: Path) -> None:
    assert problem_of(export(tmp_path / "m", config), Layout.PLAIN_ONNX) is None


def test_what_is_around_a_model_is_no_export(tmp_path: Path, place_model: Any) -> None:
    place_model(tmp_path / "m" / "onnx")
    (tmp_path / "m" / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    assert problem_of(tmp_path / "m", Layout.PLAIN_ONNX) is None


# -- packages


def package(folder: Path, manifest: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def manifest_of(*variants: str, **more: Any) -> dict[str, Any]:
    component = {"variants": {name: {"ep": "CPUExecutionProvider"} for name in variants}}
    return {"schema_version": "1.0", "components": {"model": component}} | more


def code(folder: Path) -> str | None:
    error = problem_of(folder, Layout.PACKAGE)
    return error.code if error else None


def test_a_package_whose_variants_are_models_needs_no_word(tmp_path: Path, place_model: Any) -> None:
    folder = package(tmp_path / "tiny.ortpackage", manifest_of("cpu-1", "cpu-2"))
    place_model(folder / "cpu-1")
    place_model(folder / "cpu-2")
    assert code(folder) is None


def test_variants_share_the_name_of_their_package(tmp_path: Path, place_model: Any) -> None:
    named = package(tmp_path / "a.ortpackage", manifest_of("cpu-1", package_name="phi-4-mini"))
    unnamed = package(tmp_path / "b.ortpackage", manifest_of("cpu-1"))
    models = [
        read_model_folder(place_model(folder / "cpu-1"), Surroundings(tmp_path, Source.FOLDER))
        for folder in (named, unnamed)
    ]
    assert [(model.alias, model.name) for model in models] == [("phi-4-mini", "phi-4-mini-cpu-1"), ("b", "b-cpu-1")]


def test_a_package_above_the_root_says_nothing(tmp_path: Path, place_model: Any) -> None:
    folder = package(tmp_path / "a.ortpackage", manifest_of("phi"))
    model = read_model_folder(place_model(folder / "phi"), Surroundings(folder / "phi", Source.FOLDER))
    assert model.alias == "phi"


def test_a_component_may_have_a_file_of_its_own(tmp_path: Path, place_model: Any) -> None:
    folder = package(tmp_path / "p", {"schema_version": "1.0", "components": {"decoder": "models/decoder"}})
    place_model(folder / "models" / "decoder" / "best")
    body = {"variants": {"cpu": {"variant_directory": "best"}}}
    (folder / "models" / "decoder" / "component.json").write_text(json.dumps(body), encoding="utf-8")
    assert code(folder) is None
    shutil.rmtree(folder / "models" / "decoder" / "best")
    assert code(folder) == "package_invalid"


@pytest.mark.parametrize(
    "manifest",
    [
        manifest_of("gone"),
        manifest_of("empty"),  # there, and not for onnxruntime-genai
        manifest_of("empty", schema_version="2.0"),
        manifest_of("empty", schema_version=[]),
        {"schema_version": "1.0", "components": {"decoder": "nowhere"}},
        {"schema_version": "1.0", "components": {"decoder": "empty"}},
        {"schema_version": "1.0", "components": {"model": {"variants": []}}},
        {"schema_version": "1.0", "components": {"model": {"variants": {"x": 1}}}},
        {"schema_version": "1.0", "components": {"model": "../elsewhere"}, "layout": "portable"},
        {"schema_version": "1.0", "components": {}},
    ],
)
def test_a_package_that_cannot_be_used_is_told(manifest: Any, tmp_path: Path) -> None:
    folder = package(tmp_path / "p", manifest)
    (folder / "empty").mkdir()
    error = problem_of(folder, Layout.PACKAGE)
    assert error is not None
    assert error.code in ("package_invalid", "path_leaves_folder")


@pytest.mark.parametrize("manifest", [{"name": "a web application"}, [], {"components": []}, {"schema_version": 1}])
def test_the_manifest_of_something_else_needs_no_word(manifest: Any, tmp_path: Path) -> None:
    assert code(package(tmp_path / "p", manifest)) is None


def test_a_broken_manifest_counts_beside_graphs_only(tmp_path: Path) -> None:
    folder = package(tmp_path / "p", {})
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    assert code(folder) is None
    (folder / "cpu").mkdir()
    (folder / "cpu" / "model.onnx").touch()
    assert code(folder) == "package_invalid"
