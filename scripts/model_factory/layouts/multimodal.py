"""Models that see or hear as well as read: a text decoder behind an embedding graph, and towers for the rest."""

from __future__ import annotations

from pathlib import Path

from scripts.model_factory.decoder_sketch import ATTENTION, CONVOLUTION, DecoderSketch, embed
from scripts.model_factory.files import write_json
from scripts.model_factory.layouts.configuration import Json, decoder_json, part_json, sketch_facts, write_config
from scripts.model_factory.layouts.expectation import ALL_TEXT_TASKS, Expectation
from scripts.model_factory.layouts.parts import write_adapter
from scripts.model_factory.sketch import Sketch, encoder

_INT4 = {"precision": "int4", "block_size": 32, "accuracy_level": 4, "kv_precision": "fp32"}
_SEES = {"modalities": ("text", "image"), "tasks": (*ALL_TEXT_TASKS, "vision"), "has_chat_template": True}
_TEXT = DecoderSketch(takes_embeddings=True)
_HYBRID = DecoderSketch(takes_embeddings=True, layer_types=(CONVOLUTION, ATTENTION))
_PIXELS = {"pixel_values": "pixel_values"}
_IMAGE_FEATURES = {"image_features": "image_features"}
# Folder, model.type, family.
_ALIKE = (
    ("qwen2.5-vl", "qwen2_5_vl", "qwen"),
    ("qwen3-vl", "qwen3_vl", "qwen"),
    ("fara-vision", "fara", "qwen"),
    ("mistral-3-vision", "mistral3", "mistral"),
)


def multimodal(root: Path) -> tuple[Expectation, ...]:
    """One folder per family of onnxruntime-genai's vision and speech language models."""
    alike = tuple(_in_folders(root, *names) for names in _ALIKE)
    return (_phi3v(root), _phi4mm(root), _gemma3(root), _gemma4(root), _lfm2_audio(root), *alike)


def _phi3v(root: Path) -> Expectation:
    folder = root / "phi-3-vision"
    stem = "phi-3-v-128k-instruct"
    parameters = _TEXT.save(folder / f"{stem}-text.onnx") + _embedding(folder / f"{stem}-text-embedding.onnx")
    parameters += encoder(folder / f"{stem}-vision.onnx", "pixel_values", "image_features")
    write_json(folder / "processor_config.json", {"processor": {"name": "phi-3-image-processor", "transforms": []}})
    parts = {
        "decoder": decoder_json(f"{stem}-text.onnx", _TEXT),
        "embedding": part_json(
            f"{stem}-text-embedding.onnx", {"input_ids": "input_ids"}, {"inputs_embeds": "inputs_embeds"}
        ),
        "vision": part_json(
            f"{stem}-vision.onnx",
            {"pixel_values": "pixel_values", "image_sizes": "image_sizes"},
            _IMAGE_FEATURES,
        ),
    }
    write_config(folder, "phi3v", parts)
    return Expectation(path=folder.name, facts=sketch_facts("phi3v", "phi", _TEXT, parameters, **_INT4, **_SEES))


def _phi4mm(root: Path) -> Expectation:
    folder = root / "phi-4-multimodal"
    adapters = ("phi-4-mm-speech.onnx_adapter", "phi-4-mm-vision.onnx_adapter")
    parameters = _TEXT.save(folder / "phi-4-mm-text.onnx") + _embedding(folder / "phi-4-mm-embedding.onnx")
    parameters += encoder(folder / "phi-4-mm-vision.onnx", "pixel_values", "image_features")
    parameters += encoder(folder / "phi-4-mm-speech.onnx", "audio_embeds", "audio_features")
    for name in ("vision", "speech"):
        write_json(folder / f"{name}_processor.json", {"processor": {"name": f"phi-4-{name}", "transforms": []}})
        write_adapter(folder / f"phi-4-mm-{name}.onnx_adapter")
    parts = {
        "decoder": decoder_json("phi-4-mm-text.onnx", _TEXT),
        "vision": part_json(
            "phi-4-mm-vision.onnx",
            {"pixel_values": "pixel_values", "attention_mask": "image_attention_mask", "image_sizes": "image_sizes"},
            {"image_features": "image_features"},
            config_filename="vision_processor.json",
            adapter_filename=adapters[1],
        ),
        "speech": part_json(
            "phi-4-mm-speech.onnx",
            {"audio_embeds": "audio_embeds", "attention_mask": "audio_attention_mask", "audio_sizes": "audio_sizes"},
            {"audio_features": "audio_features"},
            config_filename="speech_processor.json",
            adapter_filename=adapters[0],
        ),
        "embedding": part_json(
            "phi-4-mm-embedding.onnx",
            {"input_ids": "input_ids", "image_features": "image_features", "audio_features": "audio_features"},
            {"inputs_embeds": "inputs_embeds"},
        ),
    }
    write_config(folder, "phi4mm", parts)
    heard = {**_SEES, "modalities": ("text", "image", "audio"), "adapters": adapters}
    return Expectation(path=folder.name, facts=sketch_facts("phi4mm", "phi", _TEXT, parameters, **_INT4, **heard))


def _in_folders(root: Path, name: str, model_type: str, family: str) -> Expectation:
    """Exporters that keep one folder per part name the graphs by a relative path."""
    folder = root / name
    parameters = _TEXT.save(folder / "decoder/model.onnx") + _embedding(folder / "embedding/model.onnx")
    parameters += encoder(folder / "vision/model.onnx", "pixel_values", "image_features")
    parts = {
        "decoder": decoder_json("decoder/model.onnx", _TEXT),
        "embedding": _embedding_json("embedding/model.onnx"),
        "vision": part_json(
            "vision/model.onnx",
            {"pixel_values": "pixel_values", "image_grid_thw": "image_grid_thw"},
            _IMAGE_FEATURES,
            spatial_merge_size=2,
            config_filename="processor_config.json",
        ),
    }
    write_json(folder / "processor_config.json", {"processor": {"name": f"{model_type}_processor", "transforms": []}})
    write_config(folder, model_type, parts)
    return Expectation(path=folder.name, facts=sketch_facts(model_type, family, _TEXT, parameters, **_INT4, **_SEES))


def _gemma3(root: Path) -> Expectation:
    folder = root / "gemma-3-vision"
    parameters = _TEXT.save(folder / "text.onnx") + _embedding(folder / "embedding.onnx")
    parameters += encoder(folder / "vision.onnx", "pixel_values", "image_features")
    window = {"window_size": 512, "slide_key_value_cache": False, "slide_inputs": False, "layers": [0]}
    parts = {
        "decoder": decoder_json("text.onnx", _TEXT, sliding_window=window),
        "embedding": _embedding_json("embedding.onnx"),
        "vision": part_json("vision.onnx", _PIXELS, _IMAGE_FEATURES, config_filename="processor_config.json"),
    }
    write_json(folder / "processor_config.json", {"processor": {"name": "gemma3_image_processor", "transforms": []}})
    write_config(folder, "gemma3", parts)
    facts = sketch_facts("gemma3", "gemma", _TEXT, parameters, **_INT4, **_SEES, sliding_window=512)
    return Expectation(path=folder.name, facts=facts)


def _gemma4(root: Path) -> Expectation:
    """Its tower is cut into stages, under names of their own."""
    folder = root / "gemma-4-vision"
    parameters = _TEXT.save(folder / "decoder.onnx") + _embedding(folder / "embedding.onnx")
    parameters += encoder(folder / "vision_encoder.onnx", "pixel_values", "encoded")
    parameters += encoder(folder / "vision_projector.onnx", "encoded", "image_features")
    stages = {"encoder": {"filename": "vision_encoder.onnx"}, "projector": {"filename": "vision_projector.onnx"}}
    parts = {
        "decoder": decoder_json("decoder.onnx", _TEXT),
        "embedding": _embedding_json("embedding.onnx"),
        "vision": {"inputs": _PIXELS, "outputs": _IMAGE_FEATURES, "pipeline": stages},
    }
    write_config(folder, "gemma4", parts)
    facts = sketch_facts("gemma4", "gemma", _TEXT, parameters, **_INT4, **_SEES)
    return Expectation(path=folder.name, facts=facts)


def _lfm2_audio(root: Path) -> Expectation:
    """A hybrid decoder that hears."""
    folder = root / "lfm2-audio"
    parameters = _HYBRID.save(folder / "decoder.onnx") + _embedding(folder / "embedding.onnx")
    parameters += encoder(folder / "audio_encoder.onnx", "mel_spectrogram", "audio_features")
    decoder = decoder_json("decoder.onnx", _HYBRID, layer_types=[*_HYBRID.layer_types], conv_cache_size=2)
    decoder["inputs"] |= {"past_conv_names": "past.%d.conv"}
    decoder["outputs"] |= {"present_conv_names": "present.%d.conv"}
    parts = {
        "decoder": decoder,
        "embedding": part_json(
            "embedding.onnx",
            {"input_ids": "input_ids", "audio_features": "audio_features"},
            {"inputs_embeds": "inputs_embeds"},
        ),
        "speech": part_json(
            "audio_encoder.onnx",
            {"audio_embeds": "mel_spectrogram", "audio_lengths": "mel_lengths"},
            {"audio_features": "audio_features"},
            config_filename="audio_processor_config.json",
        ),
    }
    write_json(folder / "audio_processor_config.json", {"feature_extraction": {"sequence": []}})
    write_config(folder, "lfm2_audio", parts)
    hears = {**_SEES, "modalities": ("text", "audio"), "tasks": ALL_TEXT_TASKS}
    return Expectation(path=folder.name, facts=sketch_facts("lfm2_audio", "lfm", _HYBRID, parameters, **_INT4, **hears))


def _embedding_json(filename: str) -> Json:
    inputs = {"input_ids": "input_ids", "image_features": "image_features"}
    return part_json(filename, inputs, {"inputs_embeds": "inputs_embeds"})


def _embedding(path: Path) -> int:
    """The graph that turns token ids into what the decoder takes; returns its number of parameters."""
    sketch = Sketch()
    rows = embed(sketch, _TEXT.spec)
    output = sketch.output("inputs_embeds", ["batch_size", "sequence_length", _TEXT.spec.hidden_size])
    sketch.node("Identity", "/embedding/Identity", [rows], [output])
    return sketch.save(path)
