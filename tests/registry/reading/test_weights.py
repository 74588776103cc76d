from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.errors import InvalidModelFolder
from registry.model import Model, Source
from registry.reading.folder import Surroundings, read_model_folder
from scripts.model_factory import Quantization, write_preset


def read(folder: Path, **more: Any) -> Model:
    return read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER, **more))


def refusal(folder: Path, **more: Any) -> InvalidModelFolder:
    with pytest.raises(InvalidModelFolder) as caught:
        read(folder, **more)
    return caught.value


# -- stretches of zeros


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset("small", tmp_path_factory.mktemp("small") / "small", quantization=Quantization(4, 32))


@pytest.mark.parametrize("quantization", [Quantization(None), Quantization(8, 32), Quantization(4, 128)])
def test_weights_of_every_precision_are_taken_for_whole(quantization: Quantization, tmp_path: Path) -> None:
    assert read(write_preset("small", tmp_path / "m", quantization=quantization)).problems == ()


@pytest.mark.parametrize(
    ("start", "end", "is_hollow"),
    [
        (0.0, 1.0, True),  # reserved, and nothing written yet
        (0.5, 1.0, True),
        (0.25, 0.75, True),
        (0.94, 1.0, True),  # only the end is missing
        (0.3, 0.301, False),  # less than a look from outside can tell from zeros that belong there
        (0.0, 0.0, False),
    ],
)
def test_a_file_with_long_stretches_of_zeros_is_refused(
    start: float, end: float, is_hollow: bool, small_model: Path
) -> None:
    data = small_model / "model.onnx.data"
    size_bytes = data.stat().st_size
    first, count = int(size_bytes * start), int(size_bytes * end) - int(size_bytes * start)
    with data.open("r+b") as file:
        file.seek(first)
        lost = file.read(count)
        file.seek(first)
        file.write(bytes(count))
    try:
        if is_hollow:
            error = refusal(small_model)
            assert (error.code, error.file) == ("external_data_zeroed", "model.onnx.data")
        else:
            assert read(small_model).problems == ()
    finally:
        with data.open("r+b") as file:
            file.seek(first)
            file.write(lost)


def external_model(folder: Path, place_model: Any, tensors: dict[str, np.ndarray[Any, Any]], pad: int = 0) -> Path:
    """A model whose graph has ``tensors`` in a file of their own, ``pad`` bytes of zeros between them."""
    place_model(folder)
    protos, data = [], b""
    for name, array in tensors.items():
        proto = numpy_helper.from_array(array, name)
        proto.ClearField("raw_data")
        proto.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", len(data)), ("length", array.nbytes)):
            proto.external_data.add(key=key, value=str(value))
        protos.append(proto)
        data += array.tobytes() + bytes(pad)
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [], protos)
    (folder / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    (folder / "w.bin").write_bytes(data)
    return folder


def test_zeros_between_the_weights_and_in_small_ones_are_no_loss(tmp_path: Path, place_model: Any) -> None:
    noise = np.random.default_rng(0).random
    tensors: dict[str, Any] = {"w": noise((500, 100), np.float32), "w2": noise((500, 100), np.float32)}
    tensors |= {f"bias{index}": np.zeros(1000, np.float32) for index in range(50)}
    assert read(external_model(tmp_path / "m", place_model, tensors, pad=150_000)).problems == ()


def test_a_small_file_of_nothing_but_zeros_is_refused(tmp_path: Path, place_model: Any) -> None:
    folder = external_model(tmp_path / "m", place_model, {"w": np.zeros((50, 100), np.float32)})
    assert refusal(folder).code == "external_data_zeroed"


# -- what is counted


def test_graphs_that_share_their_weights_count_them_once(tmp_path: Path, place_model: Any) -> None:
    rows = np.random.default_rng(1).random((100, 100), np.float32)
    pipeline = [{"prompt": {"filename": "model.onnx"}}, {"token": {"filename": "token.onnx"}}]
    folder = external_model(tmp_path / "m", place_model, {"w": rows})
    shutil.copy(folder / "model.onnx", folder / "token.onnx")
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    config["model"]["decoder"] |= {"pipeline": pipeline}
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    model = read(folder)
    assert model.parameters == 10_000
    graph_bytes = (folder / "model.onnx").stat().st_size
    assert model.weight_bytes == 2 * graph_bytes + rows.nbytes


def test_a_drafter_is_loaded_but_its_weights_are_not_the_models_own(tmp_path: Path, place_model: Any) -> None:
    alone = read(place_model(tmp_path / "a"))
    folder = place_model(tmp_path / "b", config={"model": {"mtp": {"filename": "mtp.onnx"}}})
    shutil.copy(folder / "model.onnx", folder / "mtp.onnx")
    model = read(folder)
    assert model.parameters == alone.parameters
    assert model.weight_bytes == 2 * alone.weight_bytes


def test_a_part_that_is_switched_off_need_not_be_there(tmp_path: Path, place_model: Any) -> None:
    part = {"enabled": False, "filename": "mtp.onnx"}
    assert read(place_model(tmp_path / "m", config={"model": {"mtp": part}})).problems == ()


@pytest.mark.parametrize(
    ("config", "file"),
    [
        ({"vision": {"filename": "vision.onnx", "adapter_filename": "vision.onnx_adapter"}}, "vision.onnx_adapter"),
        ({"moonshine": {"frontend_filename": "front.onnx"}}, "front.onnx"),
        ({"decoder": {"pipeline": [{"stage": {"filename": "stage.onnx"}}]}}, "stage.onnx"),
        ({"vision": {"pipeline": [{"filename": "patch.onnx", "model_id": "patch"}]}}, "patch.onnx"),
        ({"decoder": {"shared_initializers": [{"name": "w", "data_file": "shared.data"}]}}, "shared.data"),
    ],
)
def test_every_file_that_any_part_names_has_to_be_there(
    config: dict[str, Any], file: str, tmp_path: Path, place_model: Any
) -> None:
    folder = place_model(tmp_path / "m", config={"model": config})
    for name in ("vision.onnx",):
        shutil.copy(folder / "model.onnx", folder / name)
    error = refusal(folder)
    assert error.code in ("graph_missing", "external_data_missing")
    assert error.file == file


def test_a_compiled_graph_without_the_file_of_its_compiler_is_refused(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    node = helper.make_node("EPContext", ["x"], ["y"], embed_mode=0, ep_cache_context="ctx.bin")
    graph = helper.make_graph([node], "g", [], [])
    onnx.save(helper.make_model(graph), str(folder / "model.onnx"))
    assert (refusal(folder).code, refusal(folder).file) == ("external_data_missing", "ctx.bin")
    (folder / "ctx.bin").write_bytes(bytes(5000))
    model = read(folder)
    assert (model.parameters, model.weight_bytes) == (None, 5000 + (folder / "model.onnx").stat().st_size)


# -- links


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "elsewhere"
    folder.mkdir()
    return folder


def moved(file: Path, to: Path) -> None:
    shutil.move(file, to / file.name)
    file.symlink_to(to / file.name)


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
@pytest.mark.parametrize("name", ["genai_config.json", "model.onnx", "tokenizer_config.json", "inference_model.json"])
def test_a_link_out_of_every_root_is_refused(name: str, tmp_path: Path, place_model: Any, elsewhere: Path) -> None:
    root = tmp_path.resolve() / "root"
    folder = place_model(root / "m", name="m:1")
    moved(folder / name, elsewhere)
    error = refusal(folder, roots=frozenset({root}))
    assert (error.code, error.file) == ("link_leaves_roots", name)
    assert f"slmreg roots add {elsewhere}" in error.message
    assert read(folder, roots=frozenset({root, elsewhere})).problems == ()
    assert read(folder).problems == ()


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_a_folder_that_is_a_link_leaves_too(tmp_path: Path, place_model: Any, elsewhere: Path) -> None:
    root = tmp_path.resolve() / "root"
    folder = place_model(root / "m", config={"model": {"decoder": {"filename": "onnx/model.onnx"}}})
    shutil.move(folder / "model.onnx", elsewhere / "model.onnx")
    (folder / "onnx").symlink_to(elsewhere, target_is_directory=True)
    assert refusal(folder, roots=frozenset({root})).code == "link_leaves_roots"
    assert read(folder, roots=frozenset({root, elsewhere})).weight_bytes > 0
