"""Text encoders without genai_config.json, as sentence-transformers and Optimum export them: which graph counts.

onnxruntime runs them as they are, so they need no more than the graph, ``config.json`` and ``tokenizer.json``.
"""

from __future__ import annotations

from collections.abc import Collection

from registry.layouts.kinds import ONNX_SUFFIX

ENCODER_TOKENIZER_FILE = "tokenizer.json"
# The modules of a sentence-transformers model: which of its sub-folders belong to it.
MODULES_FILE = "modules.json"
# Beside these an export may have others of the same model: quantised, or for other hardware.
_USUAL = ("model.onnx", "onnx/model.onnx")


def find_encoder_graph(names: Collection[str]) -> str | None:
    """The graph among the files of an export, relative to its folder; None if there is none, or none that stands out.

    ``names`` are relative to the folder, with forward slashes.
    """
    usual = next((name for name in _USUAL if name in names), None)
    if usual is not None:
        return usual
    graphs = [name for name in names if name.endswith(ONNX_SUFFIX) and name.rpartition("/")[0] in ("", "onnx")]
    return graphs[0] if len(graphs) == 1 else None
