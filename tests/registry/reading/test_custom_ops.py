from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from registry.errors import InvalidModelFolder
from registry.model import Model, Source, Status
from registry.reading.folder import Surroundings, read_model_folder

LIBRARY = b"\x7fELF, or so"
DIGEST = hashlib.sha256(LIBRARY).hexdigest()


def read(folder: Path, *allowed: str) -> Model:
    return read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER, allowed_libraries=frozenset(allowed)))


def session(**options: Any) -> dict[str, Any]:
    return {"model": {"decoder": {"session_options": options}}}


@pytest.fixture
def model(tmp_path: Path, place_model: Any) -> Path:
    folder: Path = place_model(tmp_path / "m", config=session(custom_ops_library="./lib/ops.so"))
    (folder / "lib").mkdir()
    (folder / "lib" / "ops.so").write_bytes(LIBRARY)
    return folder


def test_a_library_blocks_its_model_which_is_understood_all_the_same(model: Path) -> None:
    blocked = read(model)
    assert blocked.status is Status.BLOCKED
    assert [(problem.code, problem.file) for problem in blocked.problems] == [("custom_ops_library", "lib/ops.so")]
    assert blocked.custom_ops_library == "lib/ops.so"
    assert blocked.tasks


def test_an_allowed_library_is_allowed_by_its_content(model: Path) -> None:
    allowed = read(model, "0" * 64, DIGEST)
    assert (allowed.status, allowed.problems, allowed.custom_ops_library) == (Status.READY, (), "lib/ops.so")
    (model / "lib" / "ops.so").write_bytes(LIBRARY + b"!")
    assert read(model, DIGEST).status is Status.BLOCKED


def test_each_library_of_each_part_has_to_be_allowed(tmp_path: Path, place_model: Any) -> None:
    stage = {"filename": "model.onnx", "session_options": {"custom_ops_library": "b.so"}}
    config = session(custom_ops_library="a.so")
    config["model"]["decoder"]["pipeline"] = [{"stage": stage}]
    folder = place_model(tmp_path / "m", config=config)
    (folder / "a.so").write_bytes(LIBRARY)
    (folder / "b.so").write_bytes(b"other")
    blocked = read(folder, DIGEST)
    assert (blocked.status, blocked.custom_ops_library) == (Status.BLOCKED, "b.so")
    assert read(folder, DIGEST, hashlib.sha256(b"other").hexdigest()).status is Status.READY


@pytest.mark.parametrize(
    ("library", "code"),
    [
        ("ops.so", "custom_ops_library"),  # the system would look for it in its own folders
        ("", "custom_ops_library"),
        ("../ops.so", "path_leaves_folder"),
        ("/usr/lib/ops.so", "path_leaves_folder"),
        ("C:ops.dll", "path_leaves_folder"),
    ],
)
def test_a_library_that_is_not_in_the_folder_cannot_be_allowed(
    library: str, code: str, tmp_path: Path, place_model: Any
) -> None:
    folder = place_model(tmp_path / "m", config=session(custom_ops_library=library))
    with pytest.raises(InvalidModelFolder) as caught:
        read(folder, DIGEST)
    assert caught.value.code == code


def test_a_providers_own_library_is_the_systems_business_unless_it_came_with_the_model(
    tmp_path: Path, place_model: Any
) -> None:
    options = {"provider_options": [{"qnn": {"backend_path": "QnnHtp.dll"}}]}
    folder = place_model(tmp_path / "m", config=session(**options))
    assert read(folder).status is Status.READY
    (folder / "QnnHtp.dll").write_bytes(LIBRARY)
    assert read(folder).status is Status.BLOCKED
    assert read(folder, DIGEST).status is Status.READY


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_a_link_to_a_library_elsewhere_is_refused(tmp_path: Path, place_model: Any) -> None:
    root = tmp_path.resolve() / "root"
    folder = place_model(root / "m", config=session(custom_ops_library="ops.so"))
    (tmp_path / "ops.so").write_bytes(LIBRARY)
    (folder / "ops.so").symlink_to(tmp_path / "ops.so")
    with pytest.raises(InvalidModelFolder) as caught:
        read_model_folder(folder, Surroundings(root, Source.FOLDER, roots=frozenset({root})))
    assert caught.value.code == "link_leaves_roots"
