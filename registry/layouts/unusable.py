"""Folders that look like a model and are none for onnxruntime-genai: what they are, and what would make them usable.

* A plain ONNX export of a model that writes, as Optimum makes it: graphs and the original's ``config.json``. It cannot
  be turned into a GenAI model; the original can. (Text encoders are models as they are: ``registry.reading.encoder``.)
* A model package none of whose variants is for onnxruntime-genai, or that is broken.
"""

from __future__ import annotations

from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.documents import read_json_object
from registry.files.listing import exists
from registry.layouts.kinds import GENAI_CONFIG_FILE, ONNX_SUFFIX, TRANSFORMERS_CONFIG_FILE, Layout
from registry.layouts.package import check_package
from registry.problems import ProblemCode


def problem_of(folder: Path, layout: Layout) -> InvalidModelFolder | None:
    """Why there is no model in ``folder`` itself, None if that needs no word. Raises nothing."""
    try:
        if layout is Layout.PACKAGE:
            check_package(folder)
        elif layout is Layout.PLAIN_ONNX:
            _check_plain_onnx(folder)
    except InvalidModelFolder as error:
        return error
    return None


def _check_plain_onnx(folder: Path) -> None:
    graphs = [name for place in ("", "onnx") for name in _graphs(folder / place)]
    if not graphs or exists(folder / "onnx" / GENAI_CONFIG_FILE):
        return
    try:
        config = read_json_object(folder / TRANSFORMERS_CONFIG_FILE, ProblemCode.NOT_GENAI)
        described = config.text("model_type") or "architectures" in config
        original = config.text("_name_or_path")
    except InvalidModelFolder:
        return  # a configuration of something else
    if not described:
        return
    source = original if original and original.isprintable() and "/" in original[1:-1] else "ORIGINAL_MODEL"
    raise InvalidModelFolder(
        ProblemCode.NOT_GENAI,
        f"This is a plain ONNX export ({graphs[0]}): onnxruntime-genai needs {GENAI_CONFIG_FILE} and a graph built for "
        "it, and neither can be made from this one. Build it from the original model: python -m "
        f"onnxruntime_genai.models.builder -m {source[:200]} -o FOLDER -p int4 -e cpu",
        file=graphs[0],
    )


def _graphs(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.name.endswith(ONNX_SUFFIX))
    except OSError:
        return []
