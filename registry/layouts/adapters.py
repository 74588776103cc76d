"""LoRA adapters beside a model: which files they are, and by which names they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

ADAPTER_SUFFIX = ".onnx_adapter"


def adapter_names(files: Iterable[str]) -> dict[str, str]:
    """The adapters among the ``files`` of a model's folder (relative, with forward slashes): file by name.

    The name is that of the file without its suffix; where two are called the same, their folders belong to it.
    """
    adapters = sorted(file for file in files if file.endswith(ADAPTER_SUFFIX))
    stems = {file: file.removesuffix(ADAPTER_SUFFIX) for file in adapters}
    count = Counter(stem.rpartition("/")[2] for stem in stems.values())
    short = {file: stem.rpartition("/")[2] for file, stem in stems.items()}
    return {short[file] if count[short[file]] == 1 else stems[file]: file for file in adapters}
