"""The onnxruntime session of a decoder, set up as the folder and the daemon want it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import onnxruntime

from daemon.worker.backends.batched.capability import BatchedDecoder
from daemon.worker.spinning import spinning_entries
from registry.files.open_file import OpenFile
from registry.onnx.wiring import with_stored_shapes

_log = logging.getLogger("slmreg.worker")

# A graph with its weights inside is as large as they are, and would be held three times while it is changed.
_MOST_CHANGED_BYTES = 64 * 1024 * 1024
_ERRORS = 3  # of onnxruntime's log levels
# What a folder may say of how its graph is computed. Others name files to read and write, or concern other providers.
_KEPT_ENTRIES = frozenset(
    {
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
        "optimization.disable_specified_optimizers",
        "session.disable_quant_qdq",
        "session.enable_gelu_approximation",
        "session.qdq_matmulnbits_accuracy_level",
        "session.set_denormal_as_zero",
    }
)


def open_session(
    decoder: BatchedDecoder, settings: Mapping[str, Any], *, threads: int, is_spinning: bool, library: str | None
) -> onnxruntime.InferenceSession:
    """``settings`` are the session options of the folder; ``library`` is one of custom operators, which was allowed.

    Raises what onnxruntime raises.
    """
    options = _options(settings, threads=threads, is_spinning=is_spinning, library=library)
    changed = _changed(decoder)
    if changed is not None:
        try:
            folder = str(decoder.graph.parent)
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
            return onnxruntime.InferenceSession(changed, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            _log.warning("the graph will be computed as it is, with all logits: %s", error)
        options = _options(settings, threads=threads, is_spinning=is_spinning, library=library)
    return onnxruntime.InferenceSession(str(decoder.graph), options, providers=["CPUExecutionProvider"])


def _changed(decoder: BatchedDecoder) -> bytes | None:
    """The graph, so that it computes what is wanted of it only; None: it is as well as it is.

    onnxruntime would reshape a tied embedding table when it optimises the graph, into a copy of it: that was nearly all
    of the time that optimising takes, and a fifth to a sixth of a load (0.5B and 1.5B, int4).
    """
    with OpenFile(decoder.graph) as file:
        if file.size_bytes > _MOST_CHANGED_BYTES:
            return None
        data = file.read_at(0, file.size_bytes)
    changed = with_stored_shapes(data if decoder.head is None else decoder.head.selective(data))
    return None if changed is data else changed


def _options(
    settings: Mapping[str, Any], *, threads: int, is_spinning: bool, library: str | None
) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS
    for key, value in spinning_entries(is_spinning=is_spinning).items():
        options.add_session_config_entry(key, value)
    level = getattr(onnxruntime.GraphOptimizationLevel, str(settings.get("graph_optimization_level")), None)
    if level is not None:
        options.graph_optimization_level = level
    for key in _KEPT_ENTRIES & settings.keys():
        options.add_session_config_entry(key, str(settings[key]))
    if library is not None:
        options.register_custom_ops_library(library)
    return options
