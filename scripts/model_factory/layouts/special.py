"""Decoders in several stages, with adapters beside them, and with native code of their own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from scripts.model_factory.attention import MICROSOFT
from scripts.model_factory.decoder_sketch import TINY, DecoderSketch, embed
from scripts.model_factory.files import write_json
from scripts.model_factory.folder import write_preset
from scripts.model_factory.graph import Graph, build_graph
from scripts.model_factory.layouts.configuration import decoder_json, sketch_facts, write_config
from scripts.model_factory.layouts.decoders import CHATS, tiny_facts
from scripts.model_factory.layouts.expectation import Expectation
from scripts.model_factory.layouts.parts import write_adapter
from scripts.model_factory.onnx_files import save_graph
from scripts.model_factory.sketch import Sketch
from scripts.model_factory.spec import Quantization
from scripts.model_factory.weights import RandomWeights

_UNTIED = dataclasses.replace(TINY, tied_embeddings=False)
_NPU = DecoderSketch(cache=np.uint8, past="past_{part}s_%d", present="present_{part}s_%d")
_HIDDEN_SHAPE: list[int | str] = ["batch_size", "sequence_length", TINY.hidden_size]


def special(root: Path) -> tuple[Expectation, ...]:
    """One folder of each."""
    return (_staged(root), _staged_for_npu(root), _with_adapter(root), _with_native_code(root))


def _staged(root: Path) -> Expectation:
    """The tiny model cut into embeddings, layers and head: it answers like the whole one."""
    folder = write_preset("tiny", root / "staged", tied_embeddings=False)
    (folder / "model.onnx").unlink()
    whole = build_graph(_UNTIED, Quantization.INT4, RandomWeights(_UNTIED, 0, ()))
    first, last = _named(whole, "/model/embed_tokens"), _named(whole, "/lm_head")
    between = [node for node in whole.nodes if node not in first and node not in last]
    embedded, normed = _hidden(first[-1].output[0]), _hidden(last[0].input[0])
    stages = {
        "embeddings": Graph(whole.inputs[:1], [embedded], first, whole.arrays),
        "transformer": Graph([embedded, *whole.inputs[1:]], [normed, *whole.outputs[1:]], between, whole.arrays),
        "lm_head": Graph([normed], whole.outputs[:1], last, whole.arrays),
    }
    for name, stage in stages.items():
        save_graph(folder / f"{name}.onnx", _without_strangers(stage))
    pipeline = [{name: _stage(f"{name}.onnx", stage)} for name, stage in stages.items()]
    path = folder / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["model"]["decoder"]["filename"]
    config["model"]["decoder"]["pipeline"] = pipeline
    config["model"]["type"] = "decoder-pipeline"
    write_json(path, config)
    # Embeddings of their own are not quantized, and the quantized matrices are still more.
    facts = {**tiny_facts(), "model_type": "decoder-pipeline", "parameters": _UNTIED.parameters}
    del facts["family"]
    return Expectation(path=folder.name, facts=facts, answers=True)


def _staged_for_npu(root: Path) -> Expectation:
    """Stages compiled for an NPU: the weights are in a context binary, and the provider stands in each stage."""
    folder = root / "staged-npu"
    embeddings = Sketch()
    rows = embed(embeddings, TINY)
    embeddings.node("Identity", "/Identity", [rows], [embeddings.output("input_hidden_states", _HIDDEN_SHAPE)])
    embeddings.save(folder / "embeddings.onnx")
    for name in ("ctx", "iter"):
        _compiled_stage(folder / f"{name}.onnx")
    (folder / "context.bin").write_bytes(np.random.default_rng(0).bytes(4096))
    head = Sketch()
    hidden = head.input("output_hidden_states", np.float32, _HIDDEN_SHAPE)
    logits = head.output("logits", ["batch_size", "sequence_length", TINY.vocab_size])
    head.linear("/lm_head", hidden, TINY.hidden_size, TINY.vocab_size, logits)
    head.save(folder / "lm_head.onnx")
    on_npu = {"log_id": "onnxruntime-genai", "provider_options": [{"qnn": {"backend_path": "QnnHtp.dll"}}]}
    pipeline = [
        {"embeddings": {"filename": "embeddings.onnx", "inputs": ["input_ids"], "outputs": ["input_hidden_states"]}},
        {"prompt-processor": {"filename": "ctx.onnx", "session_options": on_npu, "run_on_token_gen": False}},
        {"token-generator": {"filename": "iter.onnx", "session_options": on_npu, "run_on_prompt": False}},
        {"lm_head": {"filename": "lm_head.onnx", "inputs": ["output_hidden_states"], "outputs": ["logits"]}},
    ]
    window = {"window_size": 64, "alignment": "left", "pad_value": 0, "slide_key_value_cache": False}
    decoder = decoder_json(None, _NPU, sliding_window=window, pipeline=pipeline)
    write_config(folder, "decoder-pipeline", {"decoder": decoder})
    facts = sketch_facts("decoder-pipeline", "", _NPU, 0, kv_precision="int8", **CHATS)
    facts |= {"execution_provider": "qnn", "device": "npu"}
    # Nobody can count the parameters in a compiled context, and the window is that of the prompt's chunks.
    del facts["parameters"], facts["family"]
    return Expectation(path=folder.name, facts=facts)


def _with_adapter(root: Path) -> Expectation:
    folder = write_preset("tiny", root / "with-adapter")
    write_adapter(folder / "adapter_model.onnx_adapter")
    facts = {**tiny_facts(), "adapters": ("adapter_model.onnx_adapter",)}
    return Expectation(path=folder.name, facts=facts, answers=True)


def _with_native_code(root: Path) -> Expectation:
    folder = write_preset("tiny", root / "custom-operators")
    library = "libcustom_ops.so"
    (folder / library).write_bytes(b"\x7fELF" + np.random.default_rng(0).bytes(2048))
    path = folder / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["decoder"]["session_options"]["custom_ops_library"] = library
    write_json(path, config)
    facts = {**tiny_facts(), "custom_ops_library": library}
    return Expectation(path=folder.name, facts=facts, status="blocked", problems=("custom_ops_library",))


def _named(graph: Graph, prefix: str) -> list[NodeProto]:
    return [node for node in graph.nodes if node.name.startswith(prefix)]


def _hidden(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, _HIDDEN_SHAPE)


def _without_strangers(graph: Graph) -> Graph:
    """With only those arrays that its nodes take."""
    taken = {name for node in graph.nodes for name in node.input}
    return dataclasses.replace(graph, arrays={name: each for name, each in graph.arrays.items() if name in taken})


def _stage(filename: str, graph: Graph) -> dict[str, object]:
    return {
        "filename": filename,
        "inputs": [each.name for each in graph.inputs],
        "outputs": [each.name for each in graph.outputs],
    }


def _compiled_stage(path: Path) -> None:
    sketch = Sketch()
    names = [_NPU.past.format(part=part) % layer for layer in range(TINY.layers) for part in ("key", "value")]
    shape: list[int | str] = [1, TINY.kv_heads, 448, TINY.head_size]
    inputs = [sketch.input("input_hidden_states", np.float32, _HIDDEN_SHAPE)]
    inputs += [sketch.input(name, np.uint8, shape) for name in names]
    inputs.append(sketch.input("past_seq_len", np.int32, [1, 1]))
    outputs = [sketch.output("output_hidden_states", _HIDDEN_SHAPE)]
    outputs += [sketch.output(name.replace("past", "present"), shape, np.uint8) for name in names]
    context = {"embed_mode": 0, "ep_cache_context": "context.bin", "source": "QNNExecutionProvider", "main_context": 1}
    sketch.node("EPContext", "context", inputs, outputs, domain=MICROSOFT, **context)
    sketch.save(path)
