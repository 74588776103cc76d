"""What kind of thing a directory is, from the names in it alone."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Layout(StrEnum):
    GENAI = "genai"  # a model of onnxruntime-genai, or one that Foundry means to be


def layout_of(names: Collection[str]) -> Layout | None:
    """``names`` are those of the files and folders directly in a directory; None: nothing of ours."""
    return Layout.GENAI if "genai_config.json" in names or "inference_model.json" in names else None
