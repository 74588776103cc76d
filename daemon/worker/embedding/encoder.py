"""A graph that gives a vector for each text, run by onnxruntime: token ids in batches in, vectors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from daemon.worker.embedding.pooling import Mask, PoolingMode, Vectors, normalized, pooled, read_pooling
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.reasons import failed_at_request
from registry.errors import GenerationFailed

# The first of these that a graph has counts; the last one is of BERT's head, which nothing but BERT's training used.
_POOLED_OUTPUTS = ("sentence_embedding", "sentence_embeddings")
_TOKEN_OUTPUTS = ("last_hidden_state", "hidden_states", "token_embeddings")
_LAST_RESORT = "pooler_output"


class TextEncoder(Protocol):
    def vectors(self, batch: Sequence[Sequence[int]]) -> Vectors:
        """One vector, of the same size for all, for each list of token ids. Raises GenerationFailed."""
        ...


class OnnxEncoder:
    """One loaded graph, and ``pooling``, which its folder asks for."""

    def __init__(
        self, session: onnxruntime.InferenceSession, folder: Path, *, heads: tuple[int, int] | None = None
    ) -> None:
        """``heads`` are a decoder's (key-value heads, size of a head), where its graph does not say.

        Raises LoadError for a graph that wants something else than a text, or a pooling that is not supported.
        """
        self._session = session
        self._heads = heads
        self._inputs = {each.name: each for each in session.get_inputs()}
        self._output = _output(session)
        unknown = [name for name in self._inputs if name not in _MADE and not _is_cache(name)]
        if unknown or "input_ids" not in self._inputs:
            raise LoadError(
                LoadCode.UNSUPPORTED,
                f"The graph asks for {', '.join(unknown) or 'no input_ids'}, which is not made of a text. Export the "
                "model for feature extraction.",
            )
        self.pooling = read_pooling(
            folder,
            default=PoolingMode.LAST if any(map(_is_cache, self._inputs)) else PoolingMode.MEAN,
            is_pooled=self._output not in _TOKEN_OUTPUTS,
        )

    def vectors(self, batch: Sequence[Sequence[int]]) -> Vectors:
        tokens, mask = _padded(batch)
        made = {name: make(tokens, mask) for name, make in _MADE.items() if name in self._inputs}
        caches = {name: self._no_cache(each, len(batch)) for name, each in self._inputs.items() if name not in made}
        try:
            (given,) = self._session.run([self._output], {**made, **caches})
        except Exception as error:
            raise failed_at_request(error) from error
        return self._finished(given, mask)

    def _finished(self, given: npt.NDArray[Any], mask: Mask) -> Vectors:
        mode = self.pooling.mode
        if given.ndim == 3:
            vectors = pooled(given, mask, mode or PoolingMode.MEAN)
        else:
            vectors = given.astype(np.float32, copy=False)
        if not np.isfinite(vectors).all():
            raise GenerationFailed("The model made a vector that holds no numbers. Choose another variant of it.")
        return normalized(vectors) if self.pooling.is_normalized else vectors

    def _no_cache(self, cache: Any, rows: int) -> npt.NDArray[Any]:
        """A decoder's keys and values before the first token."""
        shape = cache.shape  # rows, heads, tokens, size of a head
        heads, size = self._heads or (None, None)
        heads = shape[1] if isinstance(shape[1], int) else heads
        size = shape[3] if isinstance(shape[3], int) else size
        if heads is None or size is None:
            raise GenerationFailed(f"The size of {cache.name} stands neither in the graph nor in genai_config.json.")
        return np.zeros((rows, heads, 0, size), np.float16 if "float16" in cache.type else np.float32)


def _output(session: onnxruntime.InferenceSession) -> str:
    names = [each.name for each in session.get_outputs()]
    found = next((name for name in (*_POOLED_OUTPUTS, *_TOKEN_OUTPUTS, _LAST_RESORT) if name in names), None)
    if found is None:
        raise LoadError(
            LoadCode.UNSUPPORTED,
            f"The graph gives {', '.join(names[:5])}, and none of it is a vector of a text. Export the model for "
            "feature extraction.",
        )
    return found


def _is_cache(name: str) -> bool:
    return name.startswith("past")


def _padded(batch: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], Mask]:
    """Ids and mask, [texts, tokens], filled up behind: what is masked there changes nothing before it."""
    longest = max(map(len, batch))
    tokens = np.zeros((len(batch), longest), np.int64)
    mask = np.zeros((len(batch), longest), np.int64)
    for row, ids in enumerate(batch):
        tokens[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return tokens, mask


def _positions(tokens: npt.NDArray[np.int64], _mask: Mask) -> npt.NDArray[np.int64]:
    return np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape).copy()


_MADE: Mapping[str, Any] = {
    "input_ids": lambda tokens, _mask: tokens,
    "attention_mask": lambda _tokens, mask: mask,
    "token_type_ids": lambda tokens, _mask: np.zeros_like(tokens),
    "position_ids": _positions,
}
