"""Writes complete onnxruntime-genai model folders with nothing but onnx and numpy.

For tests, benchmarks and the export of trained weights. The graph is the one that the library's own model builder makes
for Qwen2 (``scripts/compare_with_builder.py`` holds the two side by side).
"""

from scripts.model_factory.folder import write_model, write_preset
from scripts.model_factory.spec import PRESETS, DecoderSpec, Preset, Quantization
from scripts.model_factory.tokenizer import TokenizerFiles, byte_level_tokenizer

__all__ = [
    "PRESETS",
    "DecoderSpec",
    "Preset",
    "Quantization",
    "TokenizerFiles",
    "byte_level_tokenizer",
    "write_model",
    "write_preset",
]
