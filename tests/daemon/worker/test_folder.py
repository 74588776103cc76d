from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import read_config


def folder_with(folder: Path, decoder: Any, *, files: tuple[str, ...] = ("model.onnx", "tokenizer.json")) -> Path:
    config = {"model": {"type": "qwen2", "decoder": decoder}}
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in files:
        (folder / name).write_bytes(b"")
    return folder


def code_of(folder: Path) -> LoadCode:
    with pytest.raises(LoadError) as caught:
        read_config(folder)
    assert str(folder) in caught.value.message
    return caught.value.code


def test_a_complete_folder_gives_its_configuration(tmp_path: Path) -> None:
    assert read_config(folder_with(tmp_path, {"filename": "model.onnx"}))["model"]["type"] == "qwen2"


@pytest.mark.parametrize("missing", ["genai_config.json", "model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    (folder_with(tmp_path, {"filename": "model.onnx"}) / missing).unlink()
    with pytest.raises(LoadError, match=missing) as caught:
        read_config(tmp_path)
    assert caught.value.code is LoadCode.MISSING_FILE


def test_a_folder_that_is_gone_is_missing(tmp_path: Path) -> None:
    assert code_of(tmp_path / "gone") is LoadCode.MISSING_FILE


@pytest.mark.parametrize("text", ["{oops", "[]", "[" * 100_000])
def test_a_configuration_that_is_no_object_is_invalid(tmp_path: Path, text: str) -> None:
    (tmp_path / "genai_config.json").write_text(text, encoding="utf-8")
    assert code_of(tmp_path) is LoadCode.INVALID_FILE


def test_a_key_that_stands_twice_cannot_hide_what_the_engine_would_read(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"filename": "model.onnx"})
    text = (folder / "genai_config.json").read_text(encoding="utf-8")
    hidden = '{"model": {"decoder": {"session_options": {"custom_ops_library": "ops.so"}}},'
    (folder / "genai_config.json").write_text(hidden + text.removeprefix("{"), encoding="utf-8")
    with pytest.raises(LoadError, match="'model' stands twice"):
        read_config(folder)


def test_a_model_without_a_decoder_is_unsupported(tmp_path: Path) -> None:
    assert code_of(folder_with(tmp_path, None)) is LoadCode.UNSUPPORTED


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "sub/../../x", "C:\\x.onnx", "..\\x.onnx"])
def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match="outside"):
        read_config(folder_with(tmp_path, {"filename": name}))


@pytest.mark.parametrize(
    "options",
    [
        {"session_options": {"provider_options": [{"plugin": {"library_path": "/x/provider.so"}}]}},
        {"session_options": {"provider_options": [{"qnn": {"backend_path": "./evil.so"}}]}},
        {"session_options": {"provider_options": [{"qnn": {"backend_path": "C:\\evil.dll"}}]}},
    ],
)
def test_native_code_from_a_folder_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(LoadError, match="never run"):
        read_config(folder_with(tmp_path, {"filename": "model.onnx", **options}))


def test_a_providers_own_library_by_its_bare_name_is_fine(tmp_path: Path) -> None:
    options = {"provider_options": [{"qnn": {"backend_path": "QnnHtp.dll"}}]}
    read_config(folder_with(tmp_path, {"filename": "model.onnx", "session_options": options}))
