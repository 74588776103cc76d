"""Custom operator libraries: which are loaded, from where, and with a real one, that a model really uses it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.protocol import Finished, Generate, LoadFailed, Ready
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.library import allowed_libraries
from tests.daemon.worker.test_process import Worker
from tests.native import compile_library


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def config_with(library: Any) -> dict[str, Any]:
    session_options = {"log_id": "x", "custom_ops_library": library}
    return {"model": {"type": "qwen2", "decoder": {"session_options": session_options}}, "search": {"top_k": 1}}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    file = tmp_path / "model" / "ops.so"
    file.parent.mkdir()
    file.write_bytes(b"native code")
    return file


def test_a_model_without_libraries_needs_nothing(tmp_path: Path) -> None:
    config = config_with(None)
    with allowed_libraries(tmp_path, config, ()) as overlay:
        assert overlay == {}


def test_an_allowed_library_is_taken_from_a_private_copy(library: Path) -> None:
    with allowed_libraries(library.parent, config_with("ops.so"), {digest_of(library)}) as overlay:
        assert overlay.keys() == {"model"}
        copy = Path(overlay["model"]["decoder"]["session_options"]["custom_ops_library"])
        library.write_bytes(b"put in its place")
        assert copy.read_bytes() == b"native code"
        assert not copy.is_relative_to(library.parent)
        if os.name == "posix":
            assert copy.parent.stat().st_mode & 0o077 == 0
    assert not copy.exists()


def test_libraries_of_one_name_in_two_parts_stay_apart(library: Path) -> None:
    other = library.parent / "vision" / "ops.so"
    other.parent.mkdir()
    other.write_bytes(b"other code")
    config = config_with("ops.so")
    config["model"]["vision"] = {"session_options": {"custom_ops_library": "vision/ops.so"}}
    with allowed_libraries(library.parent, config, {digest_of(library), digest_of(other)}) as overlay:
        copies = [
            Path(overlay["model"][part]["session_options"]["custom_ops_library"]).read_bytes()
            for part in ("decoder", "vision")
        ]
    assert copies == [b"native code", b"other code"]


def refusal(folder: Path, config: dict[str, Any], *allowed: str) -> LoadError:
    with pytest.raises(LoadError) as caught, allowed_libraries(folder, config, allowed):
        pass
    assert str(folder) in caught.value.message or "pipeline" in caught.value.message
    return caught.value


def test_a_library_that_nobody_allowed_is_refused(library: Path) -> None:
    assert "slmreg allow" in refusal(library.parent, config_with("ops.so")).message
    assert "slmreg allow" in refusal(library.parent, config_with("ops.so"), "0" * 64).message


def test_a_library_that_has_changed_since_is_refused(library: Path) -> None:
    allowed = digest_of(library)
    library.write_bytes(b"newer code")
    assert refusal(library.parent, config_with("ops.so"), allowed).code is LoadCode.UNSUPPORTED


@pytest.mark.parametrize("name", ["../ops.so", "/usr/lib/ops.so", "C:\\ops.dll", "..\\ops.dll", 7, ["ops.so"]])
def test_a_library_outside_of_the_folder_is_refused(library: Path, name: Any) -> None:
    assert "not in the folder" in refusal(library.parent, config_with(name), digest_of(library)).message


@pytest.mark.parametrize("name", ["gone.so", "."])
def test_what_is_no_file_is_missing(library: Path, name: str) -> None:
    assert refusal(library.parent, config_with(name), digest_of(library)).code is LoadCode.MISSING_FILE


def test_a_stage_of_a_pipeline_cannot_have_one(library: Path) -> None:
    stage = {"context": {"session_options": {"custom_ops_library": "ops.so"}}}
    config = {"model": {"decoder": {"pipeline": [stage]}}}
    assert "pipeline" in refusal(library.parent, config, digest_of(library)).message


def test_the_overlay_is_json(library: Path) -> None:
    with allowed_libraries(library.parent, config_with("ops.so"), {digest_of(library)}) as overlay:
        assert json.loads(json.dumps(overlay)) == overlay


@pytest.fixture
def with_library(folder: Path, tmp_path: Path) -> Path:
    """A real model whose configuration asks for a real library, which makes the file ``ran`` when it is run."""
    compile_library(folder / "libops.so", tmp_path / "ran")
    path = folder / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["decoder"].setdefault("session_options", {})["custom_ops_library"] = "libops.so"
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_a_real_library_runs_only_when_it_is_allowed(with_library: Path, tmp_path: Path) -> None:
    for allowed in ([], ["0" * 64]):
        with Worker() as worker:
            refused = worker.load(with_library, allowed_libraries=allowed)
            assert isinstance(refused, LoadFailed)
            assert "slmreg allow" in refused.message
    assert not (tmp_path / "ran").exists()
    with Worker() as worker:
        assert isinstance(worker.load(with_library, allowed_libraries=[digest_of(with_library / "libops.so")]), Ready)
        assert (tmp_path / "ran").exists()
        worker.send(Generate(request_id="a", messages=[{"role": "user", "content": "hi"}], max_tokens=4))
        assert worker.next_of(Finished).completion_tokens > 0
