"""Writes Gemma-3-shaped models with random weights that see: a tower, an embedding graph and a decoder behind it.

The decoder is the factory's own with its embedding taken out, as onnxruntime-genai wants models that see: an embedding
graph puts what the tower made of a picture into the places of the picture's tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from scripts.model_factory.files import write_json, write_text
from scripts.model_factory.folder import write_preset
from scripts.model_factory.sketch import Sketch
from scripts.model_factory.spec import PRESETS, Quantization

# Gemma 3's tower gives so many vectors for every picture, which the library takes for granted.
TOKENS_PER_IMAGE = 256
_VOCABULARY = 336
_SPEC = PRESETS["tiny"].spec
_SIZE = _SPEC.hidden_size
_PIXELS, _PATCH = 32, 2
_NAMES = ("<start_of_image>", "<image_soft_token>", "<end_of_image>")
_IMAGE_TOKEN = _VOCABULARY - 2
_CHAT_TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}
                {{- '<start_of_image>' }}
            {%- else %}
                {{- part['text'] }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def write_vision_model(folder: Path, *, seed: int = 0) -> Path:
    """Write the folder and return it."""
    write_preset(
        "tiny", folder, quantization=Quantization.FP32, seed=seed, vocab_size=_VOCABULARY, tied_embeddings=False
    )
    table = _take_out_embedding(folder / "model.onnx")
    _embedding(table).save(folder / "embedding.onnx")
    _tower(seed).save(folder / "vision.onnx")
    _name_image_tokens(folder / "tokenizer.json")
    write_text(folder / "chat_template.jinja", _CHAT_TEMPLATE)
    write_json(folder / "processor_config.json", _processor())
    _describe(folder / "genai_config.json")
    return folder


def _take_out_embedding(path: Path) -> np.ndarray:
    """Let the decoder take vectors instead of tokens; returns the table that it had."""
    model = onnx.load(path)
    graph = model.graph
    lookup = next(node for node in graph.node if node.op_type == "Gather" and "input_ids" in node.input)
    table = next(each for each in graph.initializer if each.name == lookup.input[0])
    array = onnx.numpy_helper.to_array(table)
    graph.node.remove(lookup)
    graph.initializer.remove(table)
    for node in graph.node:
        node.input[:] = ["inputs_embeds" if name == lookup.output[0] else name for name in node.input]
    tokens = next(each for each in graph.input if each.name == "input_ids")
    shape = ["batch_size", "sequence_length", _SIZE]
    graph.input.remove(tokens)
    graph.input.insert(0, helper.make_tensor_value_info("inputs_embeds", TensorProto.FLOAT, shape))
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    onnx.save(model, path)
    return np.asarray(array)


def _embedding(table: np.ndarray) -> Sketch:
    sketch = Sketch()
    tokens = sketch.input("input_ids", np.int64, ["batch_size", "sequence_length"])
    features = sketch.input("image_features", np.float32, ["num_image_tokens", _SIZE])
    rows = sketch.node("Gather", "/embed/Gather", [sketch.constant("embed.weight", table), tokens])
    image = sketch.constant("embed.image_token", np.array(_IMAGE_TOKEN, np.int64))
    places = sketch.node("NonZero", "/embed/NonZero", [sketch.node("Equal", "/embed/Equal", [tokens, image])])
    turned = sketch.node("Transpose", "/embed/Transpose", [places], perm=[1, 0])
    output = sketch.output("inputs_embeds", ["batch_size", "sequence_length", _SIZE])
    sketch.node("ScatterND", "/embed/ScatterND", [rows, turned, features], [output])
    return sketch


def _tower(seed: int) -> Sketch:
    """Patches of the picture, each made a vector."""
    sketch = Sketch(seed=seed)
    pixels = sketch.input("pixel_values", np.float32, ["num_images", 3, _PIXELS, _PIXELS])
    weight = sketch.weight("patch.weight", _SIZE, 3, _PATCH, _PATCH)
    sides = [_PATCH, _PATCH]
    patches = sketch.node("Conv", "/tower/Conv", [pixels, weight], kernel_shape=sides, strides=sides)
    turned = sketch.node("Transpose", "/tower/Transpose", [patches], perm=[0, 2, 3, 1])
    flat = sketch.constant("tower.shape", np.array([-1, _SIZE], np.int64))
    output = sketch.output("image_features", ["num_image_tokens", _SIZE])
    sketch.node("Reshape", "/tower/Reshape", [turned, flat], [output])
    return sketch


def _name_image_tokens(file: Path) -> None:
    """The last tokens of the vocabulary, which were words, are those around a picture."""
    tokenizer = json.loads(file.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    words = {token: word for word, token in vocabulary.items()}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for token, name in enumerate(_NAMES, start=_VOCABULARY - len(_NAMES)):
        del vocabulary[words[token]]
        vocabulary[name] = token
        tokenizer["added_tokens"].append({"id": token, "content": name, **flags})
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [each for each in merges if each.replace(" ", "") in vocabulary]
    write_text(file, json.dumps(tokenizer, ensure_ascii=False))


def _processor() -> dict[str, Any]:
    steps = (
        {"name": "decode_image", "type": "DecodeImage", "attrs": {"color_space": "RGB"}},
        {
            "name": "resize",
            "type": "Resize",
            "attrs": {"interpolation": "CUBIC", "width": _PIXELS, "height": _PIXELS, "keep_aspect_ratio": 0},
        },
        {"name": "rescale", "type": "Rescale", "attrs": {"rescale_factor": 1 / 255}},
        {"name": "normalize", "type": "Normalize", "attrs": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}},
        {"name": "permute", "type": "Permute3D", "attrs": {"dims": [2, 0, 1]}},
    )
    return {"processor": {"name": "gemma_3_image_processing", "transforms": [{"operation": step} for step in steps]}}


def _describe(file: Path) -> None:
    config = json.loads(file.read_text("utf-8"))
    model = config["model"]
    inputs = model["decoder"]["inputs"]
    del inputs["input_ids"]
    inputs["inputs_embeds"] = "inputs_embeds"
    model |= {
        "type": "gemma3",
        "image_token_id": _IMAGE_TOKEN,
        "embedding": {
            "filename": "embedding.onnx",
            "inputs": {"input_ids": "input_ids", "image_features": "image_features"},
            "outputs": {"inputs_embeds": "inputs_embeds"},
        },
        "vision": {
            "filename": "vision.onnx",
            "config_filename": "processor_config.json",
            "inputs": {"pixel_values": "pixel_values"},
            "outputs": {"image_features": "image_features"},
        },
    }
    write_json(file, config)
