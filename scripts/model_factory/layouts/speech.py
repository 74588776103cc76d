"""Models with an encoder: those that write down speech, a translator, and one that turns a text into a vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scripts.model_factory.decoder_sketch import DecoderSketch, embed
from scripts.model_factory.files import write_json
from scripts.model_factory.layouts.configuration import decoder_json, part_json, sketch_facts, write_config
from scripts.model_factory.layouts.expectation import Expectation
from scripts.model_factory.sketch import Sketch, encoder
from scripts.model_factory.spec import Quantization

_FP32 = {"precision": "fp32", "block_size": None, "accuracy_level": None}
_WHISPER = DecoderSketch(
    quantization=Quantization.FP32,
    has_cross_attention=True,
    past="past_{part}_self_%d",
    present="present_{part}_self_%d",
)
_PLAIN = DecoderSketch(quantization=Quantization.FP32)
_NO_CACHE = {**_FP32, "kv_bytes_per_token": 0}
# Folder, model.type, family.
_TRANSDUCERS = (("nemotron-speech", "nemotron_speech", "nemotron"), ("parakeet-tdt", "parakeet_tdt", "parakeet"))
_HIDDEN = _PLAIN.spec.hidden_size


def with_encoders(root: Path) -> tuple[Expectation, ...]:
    """One folder per kind."""
    transducers = tuple(_transducer(root, *names) for names in _TRANSDUCERS)
    return (_whisper(root), *transducers, _moonshine(root), _marian(root), _text_encoder(root))


def _whisper(root: Path) -> Expectation:
    folder = root / "whisper-tiny"
    parameters = _WHISPER.save(folder / "decoder.onnx") + encoder(
        folder / "encoder.onnx", "audio_features", "hidden_states"
    )
    crossing = {"cross_past_key_names": "past_key_cross_%d", "cross_past_value_names": "past_value_cross_%d"}
    decoder = decoder_json("decoder.onnx", _WHISPER)
    decoder["inputs"] = {**decoder["inputs"], **crossing}
    heard = part_json("encoder.onnx", {"audio_features": "audio_features"}, {"encoder_hidden_states": "hidden_states"})
    write_json(folder / "audio_processor_config.json", {"feature_extraction": {"sequence": []}})
    write_config(folder, "whisper", {"decoder": decoder, "encoder": heard}, has_template=False)
    facts = sketch_facts("whisper", "whisper", _WHISPER, parameters, **_FP32, **_transcribes("fp32"))
    return Expectation(path=folder.name, facts=facts)


def _transducer(root: Path, name: str, model_type: str, family: str) -> Expectation:
    """Encoder, decoder and joiner: nothing is kept per token."""
    folder = root / name
    parameters = encoder(folder / "encoder.onnx", "audio_signal", "encoder_output")
    parameters += encoder(folder / "decoder.onnx", "targets", "decoder_output")
    parameters += encoder(folder / "joint.onnx", "encoder_output", "joint_output")
    parts = {
        "encoder": part_json("encoder.onnx", {"audio_features": "audio_signal"}, {"encoder_outputs": "encoder_output"}),
        "decoder": part_json("decoder.onnx", {"targets": "targets"}, {"outputs": "decoder_output"}),
        "joiner": part_json("joint.onnx", {"encoder_outputs": "encoder_output"}, {"logits": "joint_output"}),
        "speech": {"config_filename": "audio_processor_config.json"},
    }
    write_json(folder / "audio_processor_config.json", {"feature_extraction": {"sequence": []}})
    write_config(folder, model_type, parts, has_template=False)
    facts = sketch_facts(model_type, family, _PLAIN, parameters, **{**_NO_CACHE, **_transcribes("unknown")})
    return Expectation(path=folder.name, facts=facts)


def _moonshine(root: Path) -> Expectation:
    """Five graphs whose names stand in a part of their own."""
    folder = root / "moonshine-streaming"
    names = ("frontend", "encoder", "adapter", "cross_kv", "decoder_kv")
    parameters = sum(encoder(folder / f"{name}.onnx", f"{name}_input", f"{name}_output") for name in names)
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "head_size": 16}
    graphs = {f"{name}_filename": f"{name}.onnx" for name in names}
    write_config(
        folder, "streaming_enc_dec_asr", {"encoder": sizes, "decoder": sizes, "moonshine": graphs}, has_template=False
    )
    facts = sketch_facts("streaming_enc_dec_asr", "moonshine", _PLAIN, parameters, **_FP32, **_transcribes("unknown"))
    del facts["kv_bytes_per_token"], facts["kv_precision"]  # its cache is the model's own affair
    return Expectation(path=folder.name, facts=facts)


def _marian(root: Path) -> Expectation:
    """A translator with recurrent states instead of keys and values: there is no task for it."""
    folder = root / "marian-translator"
    parameters = _tokens_to(folder / "encoder.onnx", "encoder_outputs")
    sketch = Sketch()
    seen = sketch.input("encoder_hidden_states", np.float32, ["batch_size", "source_length", _HIDDEN])
    past = sketch.input("rnn_states_prev", np.float32, ["batch_size", 1, _HIDDEN])
    mixed = sketch.node("ReduceMean", "/decoder/ReduceMean", [seen], keepdims=1)
    states = sketch.output("rnn_states", ["batch_size", 1, _HIDDEN])
    sketch.node("Add", "/decoder/Add", [mixed, past], [states])
    logits = sketch.output("logits", ["batch_size", 1, _PLAIN.spec.vocab_size])
    sketch.linear("/decoder/lm_head", states, _HIDDEN, _PLAIN.spec.vocab_size, logits)
    parameters += sketch.save(folder / "decoder.onnx")
    parts = {
        "encoder": part_json(
            "encoder.onnx",
            {"input_ids": "input_ids", "attention_mask": "attention_mask"},
            {"encoder_outputs": "encoder_outputs"},
            hidden_size=_HIDDEN,
        ),
        "decoder": part_json(
            "decoder.onnx",
            {"encoder_hidden_states": "encoder_hidden_states", "rnn_states_prev": "rnn_states_prev"},
            {"logits": "logits", "rnn_states": "rnn_states"},
            hidden_size=_HIDDEN,
        ),
    }
    write_config(folder, "marian-ssru", parts, has_template=False)
    facts = sketch_facts("marian-ssru", "marian", _PLAIN, parameters, **_NO_CACHE, tasks=(), modalities=("text",))
    return Expectation(path=folder.name, facts=facts, problems=("no_known_task",))


def _text_encoder(root: Path) -> Expectation:
    folder = root / "text-embedding"
    parameters = _tokens_to(folder / "model.onnx", "last_hidden_state")
    parts = {
        "encoder": part_json(
            "model.onnx",
            {"input_ids": "input_ids", "attention_mask": "attention_mask"},
            {"encoder_outputs": "last_hidden_state"},
            hidden_size=_HIDDEN,
        )
    }
    write_config(folder, "bert", parts, has_template=False)
    more: dict[str, Any] = {"tasks": ("embeddings",), "modalities": ("text",)}
    return Expectation(path=folder.name, facts=sketch_facts("bert", "bert", _PLAIN, parameters, **_NO_CACHE, **more))


def _transcribes(cache: str) -> dict[str, Any]:
    return {
        "tasks": ("transcription",),
        "modalities": ("audio",),
        "has_chat_template": False,
        "kv_precision": cache,
    }


def _tokens_to(path: Path, output: str) -> int:
    """An encoder of token ids; returns its number of parameters."""
    sketch = Sketch()
    hidden = embed(sketch, _PLAIN.spec)
    sketch.input("attention_mask", np.int64, ["batch_size", "sequence_length"])
    hidden = sketch.feed_forward("/encoder/layers.0", hidden, _PLAIN.spec)
    target = sketch.output(output, ["batch_size", "sequence_length", _HIDDEN])
    sketch.linear("/encoder/proj", hidden, _HIDDEN, _HIDDEN, target)
    return sketch.save(path)
