"""Which token comes next: a pure function of the logits, the request's parameters and its own random stream.

Invariant: a request draws only from a generator that nobody else uses, so that the same seed gives the same text
whatever else runs.

Order of the steps: temperature, then top-k, then top-p over what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.errors import GenerationFailed

Logits = npt.NDArray[np.floating[Any]]
_Ids = npt.NDArray[np.intp]
_Weights = npt.NDArray[np.float32]

# A nucleus is nearly always this small. Finding the 512 largest of 152k takes 0.15 ms, sorting them all 10 ms.
_USUAL_NUCLEUS = 512
# A running sum over 152k weights in double precision takes 1 ms; sums of blocks are a tenth of that.
_DRAW_BLOCK = 512
# Below this, differences of logits overflow single precision; it is as good as greedy.
_LEAST_TEMPERATURE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """``temperature`` 0 is greedy. ``top_k`` 0 and ``top_p`` 1 are off. ``seed`` None draws a fresh one."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None


class Sampler:
    """Picks tokens for one request."""

    def __init__(self, sampling: SamplingParams) -> None:
        self._sampling = sampling
        # Seeds of 64 bits with sign are legal in OpenAI's API; numpy takes no negative ones.
        seed = None if sampling.seed is None else sampling.seed % 2**64
        self._random = np.random.default_rng(seed)

    def pick(self, logits: Logits) -> int:
        """The next token's id. ``logits`` has shape [vocab].

        Raises GenerationFailed if they hold NaN, +inf, or nothing above -inf.
        """
        best = int(np.argmax(logits))  # NaN counts as the largest here
        if not np.isfinite(logits[best]):
            raise GenerationFailed(
                "The model computed logits that are not numbers (NaN or infinite). Its weights are damaged, or its "
                "precision does not suit this device: try another variant of the model."
            )
        if self._sampling.temperature <= 0:
            return best
        ids = None
        if 0 < self._sampling.top_k < len(logits):
            ids = _largest(logits, self._sampling.top_k)
            logits = logits[ids]
        weights = self._weights(logits)
        drawn = self._draw(weights) if self._sampling.top_p >= 1 else self._draw_from_nucleus(weights)
        return drawn if ids is None else int(ids[drawn])

    def _weights(self, logits: Logits) -> _Weights:
        """Unnormalised probabilities. In single precision, which is ten times as fast for 152k logits."""
        weights = logits.astype(np.float32)
        weights -= weights.max()
        weights /= np.float32(max(self._sampling.temperature, _LEAST_TEMPERATURE))
        return np.exp(weights, out=weights)

    def _draw_from_nucleus(self, weights: _Weights) -> int:
        """Index of one of the fewest largest weights that make up at least ``top_p`` of the sum."""
        target = self._sampling.top_p * float(weights.sum(dtype=np.float64))
        top = _largest(weights, _USUAL_NUCLEUS)
        top = top[np.argsort(-weights[top], kind="stable")]
        cumulative = np.cumsum(weights[top], dtype=np.float64)
        if cumulative[-1] >= target or len(top) == len(weights):
            nucleus = top[: int(np.searchsorted(cumulative, target)) + 1]
            return int(nucleus[self._draw(weights[nucleus])])
        # So flat a distribution that sorting it would cost as much as the model: draw until one of the nucleus comes.
        while _mass_ahead(weights, drawn := self._draw(weights)) >= target:
            pass
        return drawn

    def _draw(self, weights: _Weights) -> int:
        """Index of one of ``weights``, drawn in proportion: first its block, then its place there."""
        blocks = np.add.reduceat(weights, np.arange(0, len(weights), _DRAW_BLOCK), dtype=np.float64)
        block, rest = _locate(blocks, self._random.random() * float(blocks.sum()))
        start = block * _DRAW_BLOCK
        place, _ = _locate(weights[start : start + _DRAW_BLOCK], rest)
        return start + place


def _locate(weights: npt.NDArray[Any], target: float) -> tuple[int, float]:
    """Where the running sum of ``weights`` passes ``target``, and how much of the target is left before that."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    index = min(int(np.searchsorted(cumulative, target, side="right")), len(weights) - 1)
    return index, target - (float(cumulative[index - 1]) if index else 0.0)


def _largest(values: npt.NDArray[Any], count: int) -> _Ids:
    """Indices of the ``count`` largest values, in no particular order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, len(values) - count)[-count:]


def _mass_ahead(weights: _Weights, index: int) -> float:
    """Sum of the weights that come before ``index`` when they are ordered, largest first, equal ones by place."""
    weight = weights[index]
    equals = int(np.count_nonzero(weights[:index] == weight))
    return float(weights[weights > weight].sum(dtype=np.float64)) + equals * float(weight)
