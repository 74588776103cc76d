"""A model folder before any native library reads it: is everything there, and is it safe to load?

Folders come from strangers. What would make onnxruntime load native code from the folder, or read outside of it, is
refused here; ``daemon.worker.library`` decides about custom operators.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from daemon.worker.errors import LoadCode, LoadError
from registry.files.listing import list_files
from registry.layouts.adapters import adapter_names
from registry.layouts.kinds import TRANSFORMERS_CONFIG_FILE

_CONFIG_FILE = "genai_config.json"
_MAX_FILE_BYTES = 16 * 1024 * 1024
# Settings of execution providers whose value is a native library to load.
_LIBRARY_KEYS = frozenset({"backend_path", "library_path"})


def read_config(folder: Path) -> dict[str, Any]:
    """The checked ``genai_config.json`` of a folder with a decoder and a tokenizer. Raises LoadError."""
    config = read_genai_config(folder)
    if not isinstance(config["model"].get("decoder"), dict):
        raise LoadError(
            LoadCode.UNSUPPORTED, f"{folder / _CONFIG_FILE} describes no decoder: this model cannot answer chats."
        )
    return config


def find_genai_config(folder: Path) -> dict[str, Any] | None:
    """``read_genai_config``, or None for a folder that has only transformers' own, as text encoders have."""
    is_plain = (folder / TRANSFORMERS_CONFIG_FILE).is_file() and not (folder / _CONFIG_FILE).exists()
    return None if is_plain else read_genai_config(folder)


def read_genai_config(folder: Path) -> dict[str, Any]:
    """The checked ``genai_config.json`` of any model folder with a tokenizer. Raises LoadError."""
    if not folder.is_dir():
        raise LoadError(LoadCode.MISSING_FILE, f"{folder} is not a folder. Scan again: `slmreg scan`.")
    config = _read_json(folder / _CONFIG_FILE, pairs=_each_once)
    if not isinstance(config, dict):
        raise LoadError(
            LoadCode.INVALID_FILE, f"{folder / _CONFIG_FILE} does not hold a JSON object. Copy the file again."
        )
    if not isinstance(config.get("model"), dict):
        raise LoadError(LoadCode.UNSUPPORTED, f"{folder / _CONFIG_FILE} describes no model. Copy the file again.")
    for key, value in _settings(config):
        _check_setting(folder, key, value)
    if not (folder / "tokenizer.json").is_file():
        raise LoadError(
            LoadCode.MISSING_FILE, f"{folder} has no tokenizer.json. Copy it from the original model into the folder."
        )
    return config


def find_adapters(folder: Path) -> dict[str, Path]:
    """LoRA adapter files by name, as the registry lists them. Raises LoadError."""
    try:
        files = list_files(folder)
    except OSError as error:
        raise LoadError(LoadCode.MISSING_FILE, f"{folder} cannot be listed: {error.strerror}.") from error
    return {name: folder / file for name, file in adapter_names(file.name for file in files).items()}


def find_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no file, or something else in it. Raises LoadError."""
    value = _read_json(path) if path.is_file() else None
    return value if isinstance(value, dict) else {}


def find_list(path: Path) -> list[Any]:
    """The JSON list in a file; empty if there is no file, or something else in it. Raises LoadError."""
    value = _read_json(path) if path.is_file() else None
    return value if isinstance(value, list) else []


def read_text(path: Path) -> str:
    """A file's text, without a byte order mark. Raises LoadError."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise LoadError(LoadCode.INVALID_FILE, f"{path} is over {_MAX_FILE_BYTES} bytes: not a file of this kind.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LoadError(LoadCode.INVALID_FILE, f"{path} is not UTF-8 text. Copy the file again.") from error
    except FileNotFoundError as error:
        raise LoadError(LoadCode.MISSING_FILE, f"{path} is missing. Copy the folder again.") from error
    except OSError as error:
        raise LoadError(LoadCode.MISSING_FILE, f"{path} cannot be read: {error.strerror}.") from error


def _read_json(path: Path, *, pairs: Callable[[list[tuple[str, Any]]], Any] = dict) -> Any:
    try:
        return json.loads(read_text(path), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise LoadError(LoadCode.INVALID_FILE, f"{path} is not valid JSON: {error}. Copy the file again.") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Where a key stands twice, onnxruntime-genai 0.18 merges both objects, and the checks here would see the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:index]))
        raise ValueError(f"the key {twice!r:.100} stands twice in one object")
    return values


def _settings(value: Any) -> Iterator[tuple[str, str]]:
    """Every key with a text value, however deep."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str):
                yield key, item
            else:
                yield from _settings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _settings(item)


def _check_setting(folder: Path, key: str, value: str) -> None:
    if key in _LIBRARY_KEYS and not _is_bare_name(value):
        raise LoadError(
            LoadCode.UNSUPPORTED,
            f"{folder / _CONFIG_FILE} asks to load the native library {value!r} ({key}). Code from model folders is "
            "never run.",
        )
    if key != "filename" or not value:
        return
    if not stays_inside(value):
        raise LoadError(LoadCode.UNSUPPORTED, f"{folder / _CONFIG_FILE} names a file outside of its folder: {value!r}.")
    if not (folder / value).is_file():
        raise LoadError(LoadCode.MISSING_FILE, f"{folder / value} is missing. Copy the folder again.")


def _is_bare_name(value: str) -> bool:
    return PurePosixPath(value).name == value and PureWindowsPath(value).name == value


def stays_inside(value: str) -> bool:
    """Whether a file name, as it is written, cannot leave the folder it belongs to."""
    paths = (PurePosixPath(value), PureWindowsPath(value))
    return not any(path.anchor or ".." in path.parts for path in paths)
