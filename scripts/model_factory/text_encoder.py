"""Writes text encoders as sentence-transformers exports them: a BERT-shaped graph with random weights that runs.

Attention looks both ways and passes masked positions by, so that the vector of a text depends on the order of its
words, and not on what it is padded with.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from scripts.model_factory.files import write_json, write_text, write_tokenizer
from scripts.model_factory.sketch import Sketch
from scripts.model_factory.spec import PRESETS
from scripts.model_factory.tokenizer import byte_level_tokenizer

ENCODER_TOKENS = 128
_SPEC = PRESETS["tiny"].spec
_SIZE = _SPEC.hidden_size
_HIDDEN: list[int | str] = ["batch_size", "sequence_length", _SIZE]
_LAYERS = 2
# Outputs that are one vector for each text.
_POOLED = ("sentence_embedding", "pooler_output")
_BEGIN, _END = ("<|im_start|>", 257), ("<|im_end|>", 258)


def write_text_encoder(
    folder: Path,
    *,
    pooling: str | None = "mean_tokens",
    normalizes: bool = True,
    graph: str = "model.onnx",
    output: str = "last_hidden_state",
) -> Path:
    """Write the folder and return it; texts are put between a first and a last token.

    Args:
        pooling: The suffix of sentence-transformers' ``pooling_mode_...``; None writes none of its files.
        normalizes: Whether ``modules.json`` has a module that gives vectors the length 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder)
    if pooling is not None:
        _write_modules(folder, pooling, normalizes=normalizes)
    _graph(output).save(folder / graph)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "max_position_embeddings": ENCODER_TOKENS,
        "hidden_size": _SIZE,
        "vocab_size": _SPEC.vocab_size,
    }
    write_json(folder / "config.json", config)
    return folder


def _write_tokenizer(folder: Path) -> None:
    files = byte_level_tokenizer(_SPEC.vocab_size, ENCODER_TOKENS)
    write_tokenizer(folder, files)
    (folder / "chat_template.jinja").unlink()
    tokenizer = json.loads(files.tokenizer_json)
    around = [{"SpecialToken": {"id": name, "type_id": 0}} for name, _ in (_BEGIN, _END)]
    single = [around[0], {"Sequence": {"id": "A", "type_id": 0}}, around[1]]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]} for name, token in (_BEGIN, _END)},
    }
    # As published ones are: padded and cut to a size that is the exporter's own.
    tokenizer["truncation"] = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
    tokenizer["padding"] = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 256,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    write_text(folder / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))


def _write_modules(folder: Path, pooling: str, *, normalizes: bool) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalizes else [])]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    write_text(folder / "modules.json", json.dumps(modules))
    modes = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(
        folder / "1_Pooling/config.json",
        {"word_embedding_dimension": _SIZE, **{f"pooling_mode_{mode}": mode == pooling for mode in modes}},
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": ENCODER_TOKENS, "do_lower_case": False})


def _graph(output: str) -> Sketch:
    sketch = Sketch()
    tokens = sketch.input("input_ids", np.int64, ["batch_size", "sequence_length"])
    mask = sketch.input("attention_mask", np.int64, ["batch_size", "sequence_length"])
    types = sketch.input("token_type_ids", np.int64, ["batch_size", "sequence_length"])
    hidden = _embedded(sketch, tokens, types)
    added = _added_mask(sketch, mask)
    for layer in range(_LAYERS):
        hidden = _layer(sketch, f"/encoder/layer.{layer}", hidden, added)
    if output in _POOLED:
        sketch.output(output, ["batch_size", _SIZE])
        axis = sketch.constant("pooling.axis", np.array([1], np.int64))
        sketch.node("ReduceMax", "/pooling/ReduceMax", [hidden, axis], [output], keepdims=0)
    else:
        sketch.output(output, _HIDDEN)
        sketch.node("Identity", "/encoder/Identity", [hidden], [output])
    return sketch


def _embedded(sketch: Sketch, tokens: str, types: str) -> str:
    base = "/embeddings"
    words = sketch.node("Gather", f"{base}/word", [sketch.weight("embeddings.word", _SPEC.vocab_size, _SIZE), tokens])
    kinds = sketch.node("Gather", f"{base}/type", [sketch.weight("embeddings.type", 2, _SIZE), types])
    table = sketch.weight("embeddings.position", ENCODER_TOKENS, _SIZE)
    length = sketch.node("Shape", f"{base}/Shape", [tokens], start=1, end=2)
    begin = sketch.constant("embeddings.begin", np.array([0], np.int64))
    places = sketch.node("Slice", f"{base}/Slice", [table, begin, length])
    return sketch.add(f"{base}/Add_1", sketch.add(f"{base}/Add", words, kinds), places)


def _added_mask(sketch: Sketch, mask: str) -> str:
    """[batch, 1, sequence]: nothing where a token stands, and what leaves no weight where there is none."""
    as_float = sketch.node("Cast", "/mask/Cast", [mask], to=1)
    missing = sketch.node("Sub", "/mask/Sub", [sketch.constant("mask.one", np.array(1, np.float32)), as_float])
    added = sketch.node("Mul", "/mask/Mul", [missing, sketch.constant("mask.least", np.array(-1e9, np.float32))])
    return sketch.node("Unsqueeze", "/mask/Unsqueeze", [added, sketch.constant("mask.axis", np.array([1], np.int64))])


def _layer(sketch: Sketch, base: str, hidden: str, mask: str) -> str:
    query, key, value = (sketch.linear(f"{base}/attention/{part}", hidden, _SIZE, _SIZE) for part in "qkv")
    turned = sketch.node("Transpose", f"{base}/attention/Transpose", [key], perm=[0, 2, 1])
    scores = sketch.node("MatMul", f"{base}/attention/Scores", [query, turned])
    scale = sketch.constant(f"{base}.scale", np.array(_SIZE**-1.5, np.float32))
    scaled = sketch.add(f"{base}/attention/Add", sketch.node("Mul", f"{base}/attention/Mul", [scores, scale]), mask)
    weights = sketch.node("Softmax", f"{base}/attention/Softmax", [scaled], axis=-1)
    seen = sketch.node("MatMul", f"{base}/attention/Seen", [weights, value])
    mixed = sketch.norm(f"{base}.norm", sketch.add(f"{base}/Add", hidden, seen), _SIZE)
    fed = sketch.add(f"{base}/Add_1", mixed, sketch.feed_forward(base, mixed, _SPEC))
    return sketch.norm(f"{base}.norm_1", fed, _SIZE)
