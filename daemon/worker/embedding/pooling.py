"""From the vectors of a text's tokens to one vector of the text, as its model's own files say.

sentence-transformers keeps that in ``modules.json`` and ``1_Pooling/config.json``. Where there are none, an encoder's
tokens are averaged, and of a decoder, in which only the last token has seen the whole text, that one counts; vectors
then get the length 1, as OpenAI's have.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import find_list, find_object, stays_inside
from registry.layouts.encoder import MODULES_FILE

Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.int64]

_POOLING_FILE = "1_Pooling/config.json"
_PREFIX = "pooling_mode_"


class PoolingMode(StrEnum):
    """By the names that sentence-transformers gives them, without ``pooling_mode_``."""

    CLS = "cls_token"
    MEAN = "mean_tokens"
    MAX = "max_tokens"
    LAST = "lasttoken"


@dataclass(frozen=True, slots=True)
class Pooling:
    """``source`` says where it was read. ``mode`` None: the graph has done it."""

    mode: PoolingMode | None
    is_normalized: bool
    source: str

    def __str__(self) -> str:
        return f"{self.mode or 'graph'}{', normalized' if self.is_normalized else ''} ({self.source})"


def read_pooling(folder: Path, *, default: PoolingMode, is_pooled: bool = False) -> Pooling:
    """``is_pooled``: the graph itself gives one vector for each text, with everything that comes before its length.

    Raises LoadError for what is not supported: a vector that is made otherwise would be a wrong one.
    """
    modules = find_list(folder / MODULES_FILE)
    kinds = {str(module.get("type")).rpartition(".")[2]: module for module in modules if isinstance(module, dict)}
    unknown = kinds.keys() - {"Transformer", "Pooling", "Normalize"}
    if unknown and not is_pooled:
        raise LoadError(
            LoadCode.UNSUPPORTED,
            f"{folder / MODULES_FILE} has modules that are not in the graph: {', '.join(sorted(unknown))}. Export the "
            "whole model, so that the graph gives sentence_embedding.",
        )
    is_normalized = "Normalize" in kinds or not modules
    if is_pooled:
        return Pooling(None, is_normalized, MODULES_FILE if modules else "default")
    path = kinds.get("Pooling", {}).get("path")
    file = f"{path}/config.json" if isinstance(path, str) and path and stays_inside(path) else _POOLING_FILE
    mode = _mode(folder / file)
    return Pooling(
        mode=mode or default,
        is_normalized=is_normalized,
        source=MODULES_FILE if modules else file if mode else "default",
    )


def _mode(file: Path) -> PoolingMode | None:
    """None where the file says nothing. Raises LoadError for several at once, and for one that is not known."""
    config = find_object(file)
    asked = [key.removeprefix(_PREFIX) for key, value in config.items() if key.startswith(_PREFIX) and value is True]
    if not asked:
        return None
    try:
        (only,) = asked
        return PoolingMode(only)
    except ValueError:
        known = ", ".join(PoolingMode)
        raise LoadError(
            LoadCode.UNSUPPORTED,
            f"{file} asks for the pooling {', '.join(asked)}, and slmreg can do one of {known}. Export the model with "
            "its pooling, so that the graph gives sentence_embedding.",
        ) from None


def pooled(hidden: npt.NDArray[Any], mask: Mask, mode: PoolingMode) -> Vectors:
    """``hidden`` [texts, tokens, size] to [texts, size]; ``mask`` [texts, tokens] is 1 where a token of the text is."""
    hidden = hidden.astype(np.float32, copy=False)
    weights = mask[..., None].astype(np.float32)
    result: Vectors
    match mode:
        case PoolingMode.CLS:
            result = hidden[:, 0]
        case PoolingMode.LAST:
            result = hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]
        case PoolingMode.MAX:
            result = np.where(weights > 0, hidden, np.float32(-np.inf)).max(axis=1).astype(np.float32, copy=False)
        case PoolingMode.MEAN:
            result = np.divide((hidden * weights).sum(axis=1), weights.sum(axis=1), dtype=np.float32)
    return result


def normalized(vectors: Vectors) -> Vectors:
    """Of length 1; one of zeros stays so."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
    return scaled
