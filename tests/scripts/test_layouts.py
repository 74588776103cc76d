"""What the layouts are made of: real graphs, real adapters, a real hub cache, and models that really load."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
import onnxruntime
import onnxruntime_genai as og
import pytest

from scripts.model_factory.layouts import FOLDERS, Layout, foundry_cache, hugging_face_cache
from scripts.model_factory.layouts.hugging_face import NEW_REVISION
from scripts.model_factory.layouts.parts import write_adapter
from scripts.model_factory.many import many, write_another

LAYOUTS = {**FOLDERS, "foundry_cache": foundry_cache, "hugging_face_cache": hugging_face_cache}


def answer(folder: Path, tokens: int = 4) -> list[int]:
    model = og.Model(str(folder))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=64, do_sample=False)
    generator = og.Generator(model, parameters)
    prompt = og.Tokenizer(model).encode("hello")
    generator.append_tokens(prompt)
    for _ in range(tokens):
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[len(prompt) :]]


def assert_is_wired(model: onnx.ModelProto) -> None:
    """Every input of every node is made before it, and every output of the graph is made at all."""
    graph = model.graph
    made = {"", *(each.name for each in graph.input), *(each.name for each in graph.initializer)}
    for node in graph.node:
        assert made.issuperset(node.input), node
        made.update(node.output)
    assert made.issuperset(each.name for each in graph.output)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_graph_is_whole_and_every_model_that_should_answer_does(tmp_path: Path, name: str) -> None:
    layout: Layout = LAYOUTS[name]
    expectations = layout(tmp_path)

    for graph in tmp_path.rglob("*.onnx"):
        if graph.exists():
            assert_is_wired(onnx.load(graph))
    for expectation in expectations:
        if expectation.answers:
            assert len(answer(tmp_path / expectation.path)) == 4


def test_model_in_stages_answers_like_the_whole_one(tmp_path: Path) -> None:
    FOLDERS["special"](tmp_path)
    stages = json.loads((tmp_path / "staged/genai_config.json").read_text("utf-8"))["model"]["decoder"]["pipeline"]

    assert [name for stage in stages for name in stage] == ["embeddings", "transformer", "lm_head"]
    assert len(set(answer(tmp_path / "staged", 20))) > 2


def test_adapter_is_one_that_onnx_runtime_reads(tmp_path: Path) -> None:
    written = onnxruntime.AdapterFormat.read_adapter(str(write_adapter(tmp_path / "a.onnx_adapter")))

    assert sorted(written.get_parameters()) == [
        "model.layers.0.attn.q_proj.lora_A.weight",
        "model.layers.0.attn.q_proj.lora_B.weight",
    ]


def test_blobs_of_the_hub_cache_bear_the_digest_of_what_is_in_them(tmp_path: Path) -> None:
    hugging_face_cache(tmp_path)
    snapshot = next(tmp_path.glob(f"*/snapshots/{NEW_REVISION}"))
    graph, config = (next(snapshot.rglob(name)) for name in ("model.onnx", "genai_config.json"))
    if not graph.is_symlink():
        pytest.skip("no links on this system")

    content = config.read_bytes()

    assert hashlib.sha256(graph.read_bytes()).hexdigest() == graph.resolve().name
    assert (
        hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == config.resolve().name
    )
    assert not graph.readlink().is_absolute()


def test_many_folders_are_models_of_their_own_and_load(tmp_path: Path) -> None:
    folders = many(tmp_path, 120)
    another = write_another(tmp_path / "another", folders[0], 120)

    files = [sorted(file.name for file in folder.iterdir()) for folder in (*folders, another)]
    configs = {(folder / "genai_config.json").read_bytes() for folder in (*folders, another)}
    names = {json.loads((folder / "inference_model.json").read_text("utf-8"))["Name"] for folder in folders}

    assert {len(each) for each in files} == {9}
    assert len(configs) == 121
    assert len(names) == 120
    assert len(answer(folders[-1])) == len(answer(another)) == 4


def test_many_folders_have_the_graph_of_a_model_with_24_layers(tmp_path: Path) -> None:
    (folder,) = many(tmp_path, 1)

    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    outside = [each for each in graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]

    assert (len(graph.node), len(graph.initializer)) == (301, 317)  # as Qwen2.5-0.5B from the model builder
    assert len(outside) > 100
