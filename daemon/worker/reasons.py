"""From what the native libraries say when they fail to an error that a person can act on."""

from __future__ import annotations

import re
from pathlib import Path

from daemon.pool.failures import OUT_OF_MEMORY_WORDS
from daemon.worker.errors import LoadCode, LoadError
from registry.errors import GenerationFailed

# What onnxruntime 1.31 and onnxruntime-genai 0.18 say, the first match counts. They raise nothing but RuntimeError.
_REASONS = (
    (LoadCode.OUT_OF_MEMORY, OUT_OF_MEMORY_WORDS),
    (
        LoadCode.PROVIDER_MISSING,
        r"interface not available|not been built with|provider is not supported|unknown provider|provider.*not found",
    ),
    (
        LoadCode.UNSUPPORTED,
        r"unsupported model_type|not.implemented|not a registered function|no op registered|unsupported",
    ),
    (LoadCode.MISSING_FILE, r"does(n't| not) exist|no such file|error opening"),
    (LoadCode.INVALID_FILE, r"protobuf parsing failed|out of bounds|parsing|invalid file|failed to get model node"),
)
_ADVICE = {
    LoadCode.OUT_OF_MEMORY: "Unload other models, or choose a smaller model or context.",
    LoadCode.PROVIDER_MISSING: "Install the onnxruntime-genai package for that device, or choose a CPU variant.",
    LoadCode.UNSUPPORTED: "Choose another model, or install a newer onnxruntime-genai.",
    LoadCode.MISSING_FILE: "Copy the folder again.",
    LoadCode.INVALID_FILE: "A file is damaged or unfinished: copy the folder again.",
    LoadCode.FAILED: "Choose another variant of the model.",
}


def explained(folder: Path, error: str) -> LoadError:
    """A LoadError that says which of the known reasons it was, in the library's words and with what to do."""
    code = next((code for code, pattern in _REASONS if re.search(pattern, error, re.IGNORECASE)), LoadCode.FAILED)
    return LoadError(code, f"{folder} cannot be loaded: {_reason(error).rstrip('.')}. {_ADVICE[code]}")


def failed_at_request(error: Exception) -> GenerationFailed:
    """For a model that is loaded, and fails at one request."""
    return GenerationFailed(f"The engine failed at this request: {_reason(str(error) or type(error).__name__)}")


def _reason(text: str) -> str:
    """Long messages begin with the place in the library's own source code; the reason stands behind the last mark."""
    return (text.rpartition("[ONNXRuntimeError] : ")[2].strip() or "no reason given").splitlines()[0]
