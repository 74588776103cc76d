"""Custom operator libraries: native code that came with a model, and runs only if a person allowed exactly this file.

What is loaded is a private copy of the bytes that were checked, so that nothing can be put in their place in between,
and other libraries of the folder, which nobody looked at, are not found beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import stays_inside

_KEY = "custom_ops_library"
_MAX_LIBRARY_BYTES = 1024**3


@contextlib.contextmanager
def allowed_libraries(folder: Path, config: Mapping[str, Any], allowed: Collection[str]) -> Iterator[dict[str, Any]]:
    """What to lay over ``config`` so that its custom operator libraries are loaded from private copies; often nothing.

    ``allowed`` are SHA-256 digests in hexadecimal. The copies are there until the context ends: a loaded library needs
    its file no more. Raises LoadError for any other library.

    Meanwhile their folder is the current one: onnxruntime-genai 0.18 takes libraries from there and from the model's
    folder only (and of the latter no links, which is what a Hugging Face cache has).
    """
    overlay = _overlay(config)
    if not overlay:
        yield {}
        return
    private = Path(tempfile.mkdtemp(prefix="slmreg-ops-")).resolve()
    try:
        replaced = _replaced(overlay, folder, allowed, private)
        with contextlib.chdir(private):
            yield replaced
    finally:
        shutil.rmtree(private, ignore_errors=True)  # Windows keeps a file that is loaded


def _overlay(value: Any) -> dict[str, Any]:
    """The part of a configuration that holds nothing but its libraries. Raises LoadError for those within lists."""
    if isinstance(value, list):
        if any(_overlay(item) for item in value):
            raise LoadError(LoadCode.UNSUPPORTED, f"A {_KEY} of a pipeline's stage is not supported.")
        return {}
    if not isinstance(value, dict):
        return {}
    kept = {key: item if key == _KEY else _overlay(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item}


def _replaced(overlay: Mapping[str, Any], folder: Path, allowed: Collection[str], private: Path) -> dict[str, Any]:
    return {
        key: str(_copied(folder, item, allowed, private)) if key == _KEY else _replaced(item, folder, allowed, private)
        for key, item in overlay.items()
    }


def _copied(folder: Path, name: Any, allowed: Collection[str], private: Path) -> Path:
    if not isinstance(name, str) or not stays_inside(name):
        raise LoadError(
            LoadCode.UNSUPPORTED, f"{folder} asks to load the native library {name!r:.100}, which is not in the folder."
        )
    content = _read(folder / name)
    if hashlib.sha256(content).hexdigest() not in allowed:
        raise LoadError(
            LoadCode.UNSUPPORTED,
            f"{folder} asks to load the native library {name!r:.100}, and nobody allowed that file. If you trust it, "
            "run `slmreg allow` with the model's id.",
        )
    copy = Path(tempfile.mkdtemp(dir=private)) / Path(name).name
    copy.write_bytes(content)
    return copy


def _read(library: Path) -> bytes:
    try:
        if library.is_file() and library.stat().st_size <= _MAX_LIBRARY_BYTES:
            return library.read_bytes()
    except OSError as error:
        raise LoadError(LoadCode.MISSING_FILE, f"{library} cannot be read: {error.strerror}.") from error
    raise LoadError(LoadCode.MISSING_FILE, f"{library} is not a file of a library. Copy the folder again.")
