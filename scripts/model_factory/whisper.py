"""Writes Whisper-shaped models with random weights that onnxruntime-genai runs: encoder, decoder, tokenizer, processor.

Names, shapes and files are those of the library's own builder (onnxruntime_genai/models/builders/whisper.py); what
stands between them is as small as it gets, and what the decoder says depends on what the encoder has heard.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scripts.model_factory.attention import MICROSOFT
from scripts.model_factory.files import write_json, write_text, write_tokenizer
from scripts.model_factory.sketch import Sketch
from scripts.model_factory.tokenizer import byte_level_tokenizer

WHISPER_CONTEXT_TOKENS = 448
_MELS, _FRAMES, _POSITIONS = 80, 3000, 1500
_SIZE, _HEADS, _LAYERS = 64, 4, 2
_HEAD = _SIZE // _HEADS
_BYTE_TOKENS = 320
_FFT, _HOP = 400, 160
# In Whisper's order: everything from the end of the text on is no text.
_SPECIAL = ("<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startofprev|>", "<|notimestamps|>")
_TIMES = ("<|0.00|>", "<|0.02|>")
_END = 256  # <|endoftext|> of the byte-level tokenizer


def write_whisper(folder: Path, *, languages: tuple[str, ...] = ("en", "de", "fr"), seed: int = 0) -> Path:
    """Write the folder and return it. Without ``languages`` it is one of the models for English only."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = _write_tokenizer(folder, languages)
    _encoder(seed).save(folder / "encoder.onnx")
    _decoder(vocab_size, seed).save(folder / "decoder.onnx")
    write_json(folder / "audio_processor_config.json", _processor())
    write_json(folder / "genai_config.json", _config(vocab_size))
    return folder


def _write_tokenizer(folder: Path, languages: tuple[str, ...]) -> int:
    """Returns the size of the vocabulary."""
    files = byte_level_tokenizer(_BYTE_TOKENS, WHISPER_CONTEXT_TOKENS)
    write_tokenizer(folder, files)
    (folder / "chat_template.jinja").unlink()
    tokenizer = json.loads(files.tokenizer_json)
    names = [_SPECIAL[0], *(f"<|{language}|>" for language in languages), *_SPECIAL[1:], *_TIMES]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for token, name in enumerate(names, start=_BYTE_TOKENS):
        tokenizer["model"]["vocab"][name] = token
        tokenizer["added_tokens"].append({"id": token, "content": name, **flags, "special": name not in _TIMES})
    write_text(folder / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))
    return _BYTE_TOKENS + len(names)


def _encoder(seed: int) -> Sketch:
    """Two convolutions, and from them the keys and values that the decoder's layers look at."""
    sketch = Sketch(seed=seed)
    features = sketch.input("audio_features", np.float32, ["batch_size", _MELS, _FRAMES])
    first = sketch.node(
        "Conv", "/pre/Conv_1", [features, sketch.weight("conv1.weight", _SIZE, _MELS, 3)], kernel_shape=[3], pads=[1, 1]
    )
    second = sketch.node(
        "Conv",
        "/pre/Conv_2",
        [sketch.node("Tanh", "/pre/Tanh_1", [first]), sketch.weight("conv2.weight", _SIZE, _SIZE, 3)],
        kernel_shape=[3],
        pads=[1, 1],
        strides=[2],
    )
    states = sketch.output("hidden_states", ["batch_size", _POSITIONS, _SIZE])
    sketch.node("Transpose", "/pre/Transpose", [sketch.node("Tanh", "/pre/Tanh_2", [second])], [states], perm=[0, 2, 1])
    shape = sketch.constant("heads", np.array([-1, _POSITIONS, _HEADS, _HEAD], np.int64))
    for layer in range(_LAYERS):
        for part in ("key", "value"):
            base = f"/layers.{layer}/cross/{part}"
            flat = sketch.linear(base, states, _SIZE, _SIZE)
            target = sketch.output(f"present_{part}_cross_{layer}", ["batch_size", _HEADS, _POSITIONS, _HEAD])
            split = sketch.node("Reshape", f"{base}/Reshape", [flat, shape])
            sketch.node("Transpose", f"{base}/Transpose", [split], [target], perm=[0, 2, 1, 3])
    return sketch


def _decoder(vocab_size: int, seed: int) -> Sketch:
    sketch = Sketch(seed=seed + 1)
    tokens = sketch.input("input_ids", np.int32, ["batch_size", "sequence_length"])
    for layer in range(_LAYERS):
        for part in ("key", "value"):
            sketch.input(f"past_{part}_self_{layer}", np.float32, _cache("past_sequence_length"))
            sketch.input(f"past_{part}_cross_{layer}", np.float32, _cache(_POSITIONS))
    hidden = sketch.add("/pre/Add", _words(sketch, tokens, vocab_size), _places(sketch, tokens))
    for layer in range(_LAYERS):
        base = f"/layers.{layer}"
        hidden = sketch.add(
            f"{base}/Add", hidden, _self_attention(sketch, layer, sketch.norm(f"{base}/n1", hidden, _SIZE))
        )
        heard = _cross_attention(sketch, layer, sketch.norm(f"{base}/n2", hidden, _SIZE))
        hidden = sketch.add(f"{base}/Add_1", hidden, heard)
    normed = sketch.norm("/norm", hidden, _SIZE)
    sketch.output("logits", ["batch_size", "sequence_length", vocab_size])
    sketch.linear("/lm_head", normed, _SIZE, vocab_size, "logits")
    return sketch


def _words(sketch: Sketch, tokens: str, vocab_size: int) -> str:
    return sketch.node("Gather", "/pre/Gather", [sketch.weight("embed_tokens.weight", vocab_size, _SIZE), tokens])


def _places(sketch: Sketch, tokens: str) -> str:
    """Rows of the table of positions, from where the cache ends."""
    table = sketch.weight("embed_positions.weight", WHISPER_CONTEXT_TOKENS, _SIZE)
    past = sketch.node("Shape", "/pre/Shape_past", ["past_key_self_0"], start=2, end=3)
    more = sketch.node("Shape", "/pre/Shape", [tokens], start=1, end=2)
    return sketch.node("Slice", "/pre/Slice", [table, past, sketch.add("/pre/Add_end", past, more)])


def _self_attention(sketch: Sketch, layer: int, hidden: str) -> str:
    base = f"/layers.{layer}/attn"
    query, key, value = (sketch.linear(f"{base}/{part}", hidden, _SIZE, _SIZE) for part in "qkv")
    past = [f"past_{part}_self_{layer}" for part in ("key", "value")]
    present = [
        sketch.output(f"present_{part}_self_{layer}", _cache("total_sequence_length")) for part in ("key", "value")
    ]
    return sketch.node(
        "MultiHeadAttention",
        f"{base}/MultiHeadAttention",
        [query, key, value, "", "", "", *past],
        [f"{base}/output_0", *present],
        domain=MICROSOFT,
        num_heads=_HEADS,
        unidirectional=1,
    )


def _cross_attention(sketch: Sketch, layer: int, hidden: str) -> str:
    base = f"/layers.{layer}/cross"
    query = sketch.linear(f"{base}/q", hidden, _SIZE, _SIZE)
    made = [f"past_{part}_cross_{layer}" for part in ("key", "value")]
    return sketch.node(
        "MultiHeadAttention", f"{base}/MultiHeadAttention", [query, *made], domain=MICROSOFT, num_heads=_HEADS
    )


def _cache(length: int | str) -> list[int | str]:
    return ["batch_size", _HEADS, length, _HEAD]


def _processor() -> dict[str, Any]:
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)).tolist()
    sizes = {"n_fft": _FFT, "hop_length": _HOP}
    steps = (
        {"name": "audio_decoder", "type": "AudioDecoder"},
        {"name": "STFT", "type": "STFTNorm", "attrs": {**sizes, "frame_length": _FFT, "_comment": window}},
        {"name": "log_mel", "type": "LogMelSpectrum", "attrs": {**sizes, "chunk_size": 30, "n_mel": _MELS}},
    )
    return {"feature_extraction": {"sequence": [{"operation": step} for step in steps]}}


def _config(vocab_size: int) -> dict[str, Any]:
    sizes = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "head_size": _HEAD,
        "hidden_size": _SIZE,
        "num_attention_heads": _HEADS,
        "num_hidden_layers": _LAYERS,
        "num_key_value_heads": _HEADS,
    }
    own = {f"past_{part}_names": f"past_{part}_self_%d" for part in ("key", "value")}
    cross = {f"cross_past_{part}_names": f"past_{part}_cross_%d" for part in ("key", "value")}
    decoder = {
        **sizes,
        "filename": "decoder.onnx",
        "inputs": {"input_ids": "input_ids", **own, **cross},
        "outputs": {
            "logits": "logits",
            **{f"present_{part}_names": f"present_{part}_self_%d" for part in ("key", "value")},
        },
    }
    encoder = {
        **sizes,
        "filename": "encoder.onnx",
        "inputs": {"audio_features": "audio_features"},
        "outputs": {
            "encoder_hidden_states": "hidden_states",
            **{f"cross_present_{part}_names": f"present_{part}_cross_%d" for part in ("key", "value")},
        },
    }
    model = {
        "bos_token_id": _END,
        "context_length": WHISPER_CONTEXT_TOKENS,
        "decoder": decoder,
        "encoder": encoder,
        "eos_token_id": _END,
        "pad_token_id": _END,
        "type": "whisper",
        "vocab_size": vocab_size,
    }
    search = {
        "do_sample": False,
        "max_length": WHISPER_CONTEXT_TOKENS,
        "num_beams": 1,
        "past_present_share_buffer": False,
    }
    return {"model": model, "search": search}
