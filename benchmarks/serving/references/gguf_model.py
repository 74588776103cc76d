"""Writes a GGUF file of a model folder's shape with random Q4_0 weights; runs in an environment of its own.

    python gguf_model.py FOLDER FILE SHAPE

SHAPE is the DecoderSpec that the folder was written with, as JSON; the tokenizer is the folder's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Q4_0 = gguf.GGMLQuantizationType.Q4_0
BLOCK, BLOCK_BYTES = 32, 18


def main() -> None:
    folder, file, spec = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    writer = gguf.GGUFWriter(file, "qwen2")
    _describe(writer, spec)
    _add_tokenizer(writer, folder, spec["vocab_size"])
    chance = np.random.default_rng(0)
    for name, rows, columns in _matrices(spec):
        writer.add_tensor(name, _q4_0(chance, rows, columns), raw_dtype=Q4_0)
    for name, size in _vectors(spec):
        writer.add_tensor(name, np.full(size, float(name.endswith("norm.weight")), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, spec: dict[str, Any]) -> None:
    writer.add_context_length(spec["context_tokens"])
    writer.add_embedding_length(spec["hidden_size"])
    writer.add_block_count(spec["layers"])
    writer.add_feed_forward_length(spec["intermediate_size"])
    writer.add_head_count(spec["heads"])
    writer.add_head_count_kv(spec["kv_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(spec["rope_theta"])


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = model["model"]["vocab"] | {added["content"]: added["id"] for added in model["added_tokens"]}
    pieces = {number: piece for piece, number in vocab.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([pieces.get(number, f"[unused{number}]") for number in range(size)])
    special = {added["id"] for added in model["added_tokens"]}
    kinds = (gguf.TokenType.NORMAL, gguf.TokenType.CONTROL)
    writer.add_token_types([kinds[number in special] for number in range(size)])
    merges = model["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    end = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]["eos_token_id"]
    writer.add_eos_token_id(end[0] if isinstance(end, list) else end)


def _matrices(spec: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Names, rows and columns."""
    hidden, inner = spec["hidden_size"], spec["intermediate_size"]
    queries, keys = spec["heads"] * spec["head_size"], spec["kv_heads"] * spec["head_size"]
    sizes = {
        "attn_q": (queries, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, queries),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
    yield "token_embd.weight", spec["vocab_size"], hidden
    for layer in range(spec["layers"]):
        for name, (rows, columns) in sizes.items():
            yield f"blk.{layer}.{name}.weight", rows, columns


def _vectors(spec: dict[str, Any]) -> Iterator[tuple[str, int]]:
    queries, keys = spec["heads"] * spec["head_size"], spec["kv_heads"] * spec["head_size"]
    sizes = {
        "attn_norm.weight": spec["hidden_size"],
        "ffn_norm.weight": spec["hidden_size"],
        "attn_q.bias": queries,
        "attn_k.bias": keys,
        "attn_v.bias": keys,
    }
    yield "output_norm.weight", spec["hidden_size"]
    for layer in range(spec["layers"]):
        yield from ((f"blk.{layer}.{name}", size) for name, size in sizes.items())


def _q4_0(chance: np.random.Generator, rows: int, columns: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A scale in half precision and 32 nibbles for each block."""
    blocks = chance.integers(0, 256, (rows, columns // BLOCK, BLOCK_BYTES), dtype=np.uint8)
    blocks[..., :2] = np.array([0.005], dtype=np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


if __name__ == "__main__":
    main()
