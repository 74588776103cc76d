"""Folders that the factory writes, loaded by the real engine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime_genai as og
import pytest

from scripts.model_factory import PRESETS, DecoderSpec, Quantization, byte_level_tokenizer, write_model, write_preset
from scripts.model_factory.weights import weight_shapes

TINY = PRESETS["tiny"].spec
QUANTIZATIONS = [
    Quantization.FP32,
    Quantization.INT4,
    Quantization(4, block_size=128),
    Quantization.INT8,
    Quantization(8, block_size=128),
]


def generate(folder: Path, tokens: int, prompt: str = "<|im_start|>user\nhello<|im_end|>\n") -> list[int]:
    model = og.Model(str(folder))
    ids = og.Tokenizer(model).encode(prompt)
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=256, do_sample=False)
    generator = og.Generator(model, parameters)
    generator.append_tokens(ids)
    for _ in range(tokens):
        if generator.is_done():
            break
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[len(ids) :]]


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("quantization", QUANTIZATIONS, ids=str)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_every_precision_loads_and_generates(tmp_path: Path, quantization: Quantization, tied: bool) -> None:
    folder = write_preset("tiny", tmp_path / "m", quantization=quantization, tied_embeddings=tied)

    answer = generate(folder, 24)

    assert len(answer) == 24
    assert all(0 <= token < TINY.vocab_size for token in answer)


def test_model_without_attention_bias_generates(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m", qkv_bias=False, model_type="llama")

    assert len(generate(folder, 8)) == 8


def test_random_model_answers_by_prompt_and_runs_to_the_limit(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m")

    answers = [generate(folder, 150, prompt) for prompt in ("one", "two", "and a third one")]

    assert [len(answer) for answer in answers] == [150, 150, 150]
    assert len({tuple(answer) for answer in answers}) == 3
    assert len(set(answers[0])) > 5


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    first, again = (write_preset("tiny", tmp_path / name, seed=7) for name in ("a", "b"))
    other = write_preset("tiny", tmp_path / "c", seed=8)

    assert file_bytes(first) == file_bytes(again)
    assert (first / "model.onnx").read_bytes() != (other / "model.onnx").read_bytes()


@pytest.mark.parametrize("quantization", QUANTIZATIONS, ids=str)
def test_tiny_is_one_small_model_file(tmp_path: Path, quantization: Quantization) -> None:
    folder = write_preset("tiny", tmp_path / "m", quantization=quantization)

    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000
    assert not (folder / "model.onnx.data").exists()


def test_arrays_of_a_larger_model_stand_in_an_external_file(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m", vocab_size=40_000)

    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    outside = [tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]

    assert (folder / "model.onnx").stat().st_size < 100_000
    assert (folder / "model.onnx.data").stat().st_size > 1_000_000
    assert all(int(entry.value) % 65_536 == 0 for tensor in outside for entry in tensor.external_data[1:2])
    assert len(generate(folder, 4)) == 4


def test_name_is_written_the_way_foundry_reads_it(tmp_path: Path) -> None:
    named = write_preset("tiny", tmp_path / "named", name="tiny-generic-cpu:3")
    unnamed = write_preset("tiny", tmp_path / "unnamed")

    assert json.loads((named / "inference_model.json").read_text("utf-8"))["Name"] == "tiny-generic-cpu:3"
    assert not (unnamed / "inference_model.json").exists()


def test_config_states_the_decoder(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m")

    config = json.loads((folder / "genai_config.json").read_text("utf-8"))

    assert config["model"]["context_length"] == config["search"]["max_length"] == TINY.context_tokens
    assert config["model"]["eos_token_id"] == [258, 256]
    assert config["model"]["decoder"]["num_key_value_heads"] == TINY.kv_heads
    assert config["search"]["past_present_share_buffer"] is True


def test_writing_again_replaces_all_of_the_old_model(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m", name="old:1", vocab_size=40_000)
    write_preset("tiny", folder)

    assert file_bytes(folder) == file_bytes(write_preset("tiny", tmp_path / "fresh"))


def test_writing_that_breaks_off_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "m")
    unwritable = dataclasses.replace(byte_level_tokenizer(320, 2048), chat_template="\ud800")

    with pytest.raises(UnicodeEncodeError):
        write_model(folder, TINY, quantization=Quantization.INT4, tokenizer=unwritable)

    assert not (folder / "genai_config.json").exists()


def test_refused_weights_leave_no_folder_behind(tmp_path: Path) -> None:
    weights = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(TINY).items()}
    short = {name: array for name, array in weights.items() if name != "model.norm.weight"}
    misshapen = weights | {"model.norm.weight": np.zeros(3, np.float32)}
    surplus = weights | {"lm_head.weight": np.zeros((320, 64), np.float32)}

    for given, complaint in ((short, "missing"), (misshapen, "has the shape"), (surplus, "no place")):
        with pytest.raises(ValueError, match=complaint):
            write_model(tmp_path / "m", TINY, quantization=Quantization.INT4, weights=given)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"heads": 3}, "divisor"), ({"head_size": 12}, "multiple of 16"), ({"layers": 0}, "at least 1")],
)
def test_impossible_shapes_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(TINY, **change)


def test_unknown_names_are_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tiny, small, bench"):
        write_preset("huge", tmp_path / "m")
    with pytest.raises(ValueError, match="fp32, int4, int8"):
        Quantization.parse("int2")


def test_benchmark_preset_has_the_shape_of_qwen_0_5b() -> None:
    spec: DecoderSpec = PRESETS["bench-0.5b"].spec

    assert (spec.layers, spec.hidden_size, spec.heads, spec.kv_heads, spec.head_size) == (24, 896, 14, 2, 64)
    assert (spec.intermediate_size, spec.vocab_size, spec.context_tokens) == (4864, 151_936, 32_768)
    assert spec.parameters == 494_032_768  # as published
