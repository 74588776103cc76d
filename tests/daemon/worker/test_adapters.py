"""LoRA adapters in a real worker: what a model says changes with them, and only with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime_genai as og
import pytest

from daemon.pool.protocol import Delta, Failed, Finished, Generate, Load, Sampling, ToDaemon
from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.folder import find_adapters, read_config
from daemon.worker.loading import load_engine
from daemon.worker.sampling import Logits
from daemon.worker.served import ServedModel
from registry.errors import GenerationFailed
from registry.layouts.adapters import adapter_names
from registry.model import ExecutionProvider
from scripts.model_factory.lora import take_adapters, write_head_adapter

PROMPT = [72, 101, 108]


@pytest.fixture(scope="module")
def adapted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two adapters, and one that is for none."""
    folder = take_adapters(Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("lora") / "model")))
    write_head_adapter(folder / "adapters" / "poet.onnx_adapter", folder, seed=1)
    write_head_adapter(folder / "adapters" / "lawyer.onnx_adapter", folder, seed=2)
    (folder / "broken.onnx_adapter").write_bytes(b"no adapter")
    return folder


def backend_of(folder: Path) -> GeneratorBackend:
    model = og.Model(engine_config(folder, read_config(folder), ExecutionProvider.CPU, threads=1))
    return GeneratorBackend(model, find_adapters(folder))


@pytest.fixture(scope="module")
def backend(adapted: Path) -> Iterator[GeneratorBackend]:
    yield backend_of(adapted)


def logits(backend: GeneratorBackend, adapter: str | None = None) -> Logits:
    row = backend.open(64, adapter)
    try:
        return backend.extend(row, PROMPT).copy()
    finally:
        backend.close(row)


def test_each_adapter_changes_the_logits_and_none_leaves_the_models_own(
    backend: GeneratorBackend, tiny_model: Path
) -> None:
    own = logits(backend_of(tiny_model))
    assert np.array_equal(logits(backend), own)
    poet, lawyer = logits(backend, "poet"), logits(backend, "lawyer")
    assert not np.allclose(poet, own, atol=0.1)
    assert not np.allclose(poet, lawyer, atol=0.1)
    assert np.array_equal(logits(backend), own)
    assert np.array_equal(logits(backend, "poet"), poet)


def test_rows_with_different_adapters_advance_side_by_side(backend: GeneratorBackend) -> None:
    alone: dict[str | None, Logits] = {}
    for adapter in (None, "poet", "lawyer"):
        row = backend.open(64, adapter)
        backend.extend(row, PROMPT)
        (result,) = backend.decode([(row, 5)])
        assert not isinstance(result, GenerationFailed)
        alone[adapter] = result.copy()
    rows = {adapter: backend.open(64, adapter) for adapter in alone}
    for row in rows.values():
        backend.extend(row, PROMPT)
    for adapter, result in zip(rows, backend.decode([(row, 5) for row in rows.values()]), strict=True):
        assert not isinstance(result, GenerationFailed)
        assert np.array_equal(result, alone[adapter])


def test_a_file_that_is_no_adapter_fails_its_request_and_no_other(backend: GeneratorBackend) -> None:
    with pytest.raises(GenerationFailed):
        backend.open(64, "broken")
    assert np.isfinite(logits(backend, "poet")).all()


def said(engine: ServedModel, request_id: str, adapter: str | None) -> str:
    ask = Generate(
        request_id=request_id,
        messages=[{"role": "user", "content": "hi"}],
        max_tokens=12,
        sampling=Sampling(temperature=0),
        adapter=adapter,
    )
    events: list[ToDaemon] = engine.handle(ask)
    while not engine.is_idle:
        events += engine.step()
    assert isinstance(events[-1], Finished), events[-1]
    return "".join(event.text for event in events if isinstance(event, Delta))


def test_a_request_gets_the_adapter_that_it_names(adapted: Path) -> None:
    load = Load(path=str(adapted), execution_provider="cpu", threads=1, context_tokens=256, max_concurrent=2)
    engine, ready = load_engine(load)
    assert ready.adapters == ["broken", "lawyer", "poet"]
    own = said(engine, "own", None)
    assert said(engine, "poet", "poet") != own
    assert said(engine, "again", None) == own
    (failed,) = engine.handle(Generate(request_id="r", messages=[{"role": "user", "content": "hi"}], adapter="nobody"))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", "model")


def test_adapters_are_called_like_their_files_and_by_their_folders_where_that_is_not_enough() -> None:
    files = ["model.onnx", "poet.onnx_adapter", "a/same.onnx_adapter", "b/same.onnx_adapter"]
    assert adapter_names(files) == {
        "a/same": "a/same.onnx_adapter",
        "b/same": "b/same.onnx_adapter",
        "poet": "poet.onnx_adapter",
    }


def test_adapters_behind_a_link_to_another_folder_are_not_the_models(adapted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    try:
        (folder / "adapters").symlink_to(adapted / "adapters", target_is_directory=True)
    except OSError:
        pytest.skip("no links on this system")
    assert find_adapters(folder) == {}
