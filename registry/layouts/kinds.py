"""What kind of thing a directory is, from the names in it alone."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

GENAI_CONFIG_FILE = "genai_config.json"
PACKAGE_MANIFEST_FILE = "manifest.json"
# What transformers, and with it Optimum, writes beside the graphs of an export; the graphs may be in a folder "onnx".
TRANSFORMERS_CONFIG_FILE = "config.json"
ONNX_SUFFIX = ".onnx"


class Layout(StrEnum):
    """A GENAI folder is for ``registry.reading.folder.read_model_folder``.

    The others hold no model themselves, and the names only make it probable that there is something to say about them:
    ``registry.layouts.unusable.problem_of`` tells. What lies below them is walked as it is below any other directory.
    """

    GENAI = "genai"  # a model of onnxruntime-genai, or one that Foundry means to be
    PACKAGE = "package"  # an ONNX Runtime model package: a manifest, and each variant a GENAI folder of its own
    # Graphs for ONNX Runtime alone, as Optimum writes them; a text encoder among them is a model all the same.
    PLAIN_ONNX = "plain_onnx"


def layout_of(names: Collection[str]) -> Layout | None:
    """``names`` are those of the files and folders directly in a directory; None: nothing of ours."""
    if GENAI_CONFIG_FILE in names or "inference_model.json" in names:
        return Layout.GENAI
    if PACKAGE_MANIFEST_FILE in names:
        return Layout.PACKAGE
    if TRANSFORMERS_CONFIG_FILE in names and ("onnx" in names or any(name.endswith(ONNX_SUFFIX) for name in names)):
        return Layout.PLAIN_ONNX
    return None
