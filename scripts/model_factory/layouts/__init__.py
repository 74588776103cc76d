"""Every layout in which models lie on real disks, written with small real graphs, and what is true of each folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.model_factory.layouts.converted import lone_adapter, model_package, olive_output, optimum_export
from scripts.model_factory.layouts.decoders import decoders, unusual_decoders
from scripts.model_factory.layouts.encoders import sentence_transformers
from scripts.model_factory.layouts.expectation import Expectation
from scripts.model_factory.layouts.foundry import foundry_cache, foundry_cache_at_root, foundry_registration
from scripts.model_factory.layouts.hugging_face import hugging_face_cache
from scripts.model_factory.layouts.multimodal import multimodal
from scripts.model_factory.layouts.special import special
from scripts.model_factory.layouts.speech import with_encoders

Layout = Callable[[Path], tuple[Expectation, ...]]

FOLDERS: Mapping[str, Layout] = {
    "decoders": decoders,
    "unusual_decoders": unusual_decoders,
    "special": special,
    "multimodal": multimodal,
    "with_encoders": with_encoders,
    "olive_output": olive_output,
    "model_package": model_package,
    "optimum_export": optimum_export,
    "sentence_transformers": sentence_transformers,
    "lone_adapter": lone_adapter,
}
"""Layouts of a folder that a person adds."""

__all__ = [
    "FOLDERS",
    "Expectation",
    "Layout",
    "decoders",
    "foundry_cache",
    "foundry_cache_at_root",
    "foundry_registration",
    "hugging_face_cache",
    "lone_adapter",
    "model_package",
    "multimodal",
    "olive_output",
    "optimum_export",
    "sentence_transformers",
    "special",
    "unusual_decoders",
    "with_encoders",
]
