"""Holds the model factory beside onnxruntime-genai's own model builder: same structure, same tokens, same speed.

    python -m scripts.compare_with_builder WORK_FOLDER [--preset bench-0.5b] [--threads 2] [--pairs 60]

Random Hugging Face weights of the preset's shape are saved with transformers, made into int4, int8 and fp32 folders by
the builder and by the factory, and compared. Needs torch and transformers beside the test extras; the builder runs
offline. What it made in WORK_FOLDER before is used again. Exits 1 when a structure or a greedy answer differs, or when
the factory's speed is more than 5% away from the builder's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from scripts.model_factory import PRESETS, DecoderSpec, Quantization, byte_level_tokenizer, write_model

PROMPT_TOKENS, NEW_TOKENS = 256, 64
PREFILL_SEGMENT, DECODE_SEGMENT = 64, 8  # tokens between two switches: short, so that drift meets both models
SPEED_TOLERANCE = 0.05
PRECISIONS = {"int4": Quantization.INT4, "int8": Quantization.INT8, "fp32": Quantization.FP32}


def main() -> None:
    arguments = _arguments()
    spec, work = PRESETS[arguments.preset].spec, arguments.work
    make_folders(spec, work)
    same = True
    for precision in PRECISIONS:
        built, made = work / f"builder-{precision}", work / f"factory-{precision}"
        same &= report(f"{precision} structure", structure(built) == structure(made))
        same &= report(f"{precision} arrays", arrays_equal(built, made))
        tables = ""
        if precision != "fp32":
            tables = " on the same rotary tables"
            made = with_rotary_tables_of(built, made, work / f"factory-{precision}-rotary")
        same &= report(f"{precision} greedy tokens{tables}", greedy(built) == greedy(made))
    same &= report(
        "fp32 greedy tokens as transformers'", greedy(work / "factory-fp32") == transformers_greedy(work / "hf")
    )
    same &= compare_speed(work / "builder-int4", work / "factory-int4", arguments.threads, arguments.pairs)
    sys.exit(0 if same else 1)


def make_folders(spec: DecoderSpec, work: Path) -> None:
    """WORK/hf, WORK/builder-* and WORK/factory-*; folders that are there are kept."""
    if not (work / "hf" / "tokenizer.json").is_file():
        save_hugging_face(spec, work / "hf")
    for precision, quantization in PRECISIONS.items():
        if not (work / f"builder-{precision}" / "genai_config.json").is_file():
            run_builder(work / "hf", work / f"builder-{precision}", precision, work / "cache")
        write_model(
            work / f"factory-{precision}", spec, quantization=quantization, weights=hugging_face_weights(work / "hf")
        )


def save_hugging_face(spec: DecoderSpec, folder: Path) -> None:
    """A Qwen2 model with random weights and biases, and the factory's tokenizer files."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = byte_level_tokenizer(spec.vocab_size, spec.context_tokens)
    torch.manual_seed(0)
    config = Qwen2Config(
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        intermediate_size=spec.intermediate_size,
        vocab_size=spec.vocab_size,
        max_position_embeddings=spec.context_tokens,
        rope_parameters={"rope_type": "default", "rope_theta": spec.rope_theta},
        rms_norm_eps=spec.rms_norm_eps,
        tie_word_embeddings=spec.tied_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_ids[0],
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.05)
        elif parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer.tokenizer_config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.tokenizer_json, encoding="utf-8")


def hugging_face_weights(folder: Path) -> dict[str, np.ndarray]:
    from transformers import Qwen2ForCausalLM

    model = Qwen2ForCausalLM.from_pretrained(folder)
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


def run_builder(source: Path, target: Path, precision: str, cache: Path) -> None:
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(source), "-i", str(source)]
    command += ["-o", str(target), "-p", precision, "-e", "cpu", "-c", str(cache)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def structure(folder: Path) -> Any:
    """Everything of a graph but the arrays' contents and the order of nodes and cache entries."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    graph = model.graph
    nodes = Counter(_node_key(node) for node in graph.node)
    ports = sorted(value.SerializeToString() for value in [*graph.input, *graph.output])
    arrays = sorted((tensor.name, tensor.data_type, *tensor.dims) for tensor in graph.initializer)
    opsets = sorted((opset.domain, opset.version) for opset in model.opset_import)
    return nodes, ports, arrays, opsets, model.ir_version


def _node_key(node: onnx.NodeProto) -> tuple[Any, ...]:
    attributes = sorted(
        (attribute.name, np.float32(attribute.f), attribute.i)
        for attribute in node.attribute
        if attribute.type != onnx.AttributeProto.TENSOR
    )
    return node.op_type, node.domain, tuple(node.input), tuple(node.output), tuple(attributes)


def arrays_equal(left: Path, right: Path) -> bool:
    """Packed levels equal, floats within 1e-6 (cosines may differ in the last bit)."""
    first, second = (_arrays(folder) for folder in (left, right))
    return first.keys() == second.keys() and all(
        np.allclose(first[name], second[name], rtol=0, atol=1e-6) for name in first
    )


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    model = onnx.load(folder / "model.onnx")
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def with_rotary_tables_of(source: Path, folder: Path, target: Path) -> Path:
    """A copy of ``folder`` with the cosines and sines of ``source``.

    Cosines of numpy and torch differ in the last bit here and there. With int8 activations that was enough for another
    greedy answer after a few tokens (bench-0.5b), so tokens are only comparable on the same tables.
    """
    shutil.copytree(folder, target, dirs_exist_ok=True)
    model, tables = onnx.load(folder / "model.onnx"), _arrays(source)
    for tensor in model.graph.initializer:
        if tensor.name in ("cos_cache", "sin_cache"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(tables[tensor.name], tensor.name))
    (target / "model.onnx.data").unlink(missing_ok=True)
    onnx.save(model, target / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    return target


def prompt() -> list[int]:
    return [int(token) for token in np.random.default_rng(1).integers(0, 256, PROMPT_TOKENS)]


def greedy(folder: Path) -> list[int]:
    generator = _generator(folder, threads=2)
    generator.append_tokens(prompt())
    for _ in range(NEW_TOKENS):
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)[PROMPT_TOKENS:]]


def transformers_greedy(folder: Path) -> list[int]:
    import torch
    from transformers import Qwen2ForCausalLM

    ids = torch.tensor([prompt()])
    output = Qwen2ForCausalLM.from_pretrained(folder).generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS
    )
    return [int(token) for token in output[0, PROMPT_TOKENS:]]


def _generator(folder: Path, threads: int) -> Any:
    import onnxruntime_genai as og

    config = og.Config(str(folder))
    options = {"intra_op_num_threads": threads, "session.intra_op.allow_spinning": "0"}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    model = og.Model(config)
    parameters = og.GeneratorParams(model)
    length = PROMPT_TOKENS + NEW_TOKENS + 8
    parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
    return og.Generator(model, parameters)


def compare_speed(built: Path, made: Path, threads: int, pairs: int) -> bool:
    """Whether both run equally fast, by the median ratio of neighbouring segments.

    All models stay loaded in one process and take turns; the builder's stands there twice, and its ratio to itself
    shows what the machine's noise alone makes.
    """
    generators = [_generator(folder, threads) for folder in (built, made, built)]
    is_same = True
    for phase, segment in (("prefill", _prefill_seconds), ("decode", _decode_seconds)):
        for generator in generators:
            segment(generator)
        turns = [[segment(generator) for generator in generators] for _ in range(pairs)]
        ratio, noise = (statistics.median(turn[0] / turn[index] for turn in turns) for index in (1, 2))
        medians = [statistics.median(seconds) * 1000 for seconds in zip(*turns, strict=True)]
        print(f"int4 {phase}: builder {medians[0]:.1f} ms, factory {medians[1]:.1f} ms a segment")
        subject = f"int4 {phase} speed, factory / builder {ratio:.3f} (builder / itself {noise:.3f})"
        is_same &= report(subject, abs(ratio - 1) <= SPEED_TOLERANCE)
    return is_same


def _prefill_seconds(generator: Any) -> float:
    generator.rewind_to(0)
    started = time.perf_counter()
    generator.append_tokens(prompt()[:PREFILL_SEGMENT])
    return time.perf_counter() - started


def _decode_seconds(generator: Any) -> float:
    generator.rewind_to(PREFILL_SEGMENT)
    generator.append_tokens([0])
    started = time.perf_counter()
    for _ in range(DECODE_SEGMENT):
        generator.generate_next_token()
    return time.perf_counter() - started


def report(subject: str, is_same: bool) -> bool:
    print(f"{subject}: {'same' if is_same else 'DIFFERENT'}", flush=True)
    return is_same


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.compare_with_builder", description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path, metavar="WORK_FOLDER")
    parser.add_argument("--preset", choices=list(PRESETS), default="small")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=60, help="measured segments of each model (default 60)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
