"""What a sampler has to draw, written down without regard to time: other ways to the same tokens are held to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.worker.sampling import SamplingParams

Weights = npt.NDArray[np.float32]
BLOCK = 512
NUCLEUS = 512


class PlainSampler:
    """Draws as ``daemon.worker.sampling.Sampler`` does for an answer without penalties and form."""

    def __init__(self, sampling: SamplingParams) -> None:
        self.sampling = sampling
        self.random = np.random.default_rng(None if sampling.seed is None else sampling.seed % 2**64)

    def pick(self, logits: npt.NDArray[Any]) -> int:
        if self.sampling.temperature <= 0:
            return int(np.argmax(logits))
        ids = np.arange(len(logits))
        if 0 < self.sampling.top_k < len(logits):
            # In the order in which the sampler itself has them, since that decides what a number drawn stands for.
            ids = largest(logits, self.sampling.top_k)
        weights = logits[ids].astype(np.float32)
        weights = np.exp((weights - weights.max()) / np.float32(max(self.sampling.temperature, 1e-4)))
        return int(ids[self.from_nucleus(weights) if self.sampling.top_p < 1 else self.likely(weights)])

    def from_nucleus(self, weights: Weights) -> int:
        target = self.sampling.top_p * float(weights.sum(dtype=np.float64))
        top = largest(weights, NUCLEUS)
        top = top[np.argsort(-weights[top], kind="stable")]
        cumulative = np.cumsum(weights[top], dtype=np.float64)
        if cumulative[-1] >= target or len(top) == len(weights):
            nucleus = top[: int(np.searchsorted(cumulative, target)) + 1]
            return int(nucleus[self.likely(weights[nucleus])])
        while True:
            drawn = self.likely(weights)
            weight = weights[drawn]
            equals = int((weights[:drawn] == weight).sum())
            ahead = float(weights[weights > weight].sum(dtype=np.float64)) + equals * float(weight)
            if ahead < target:
                return drawn

    def likely(self, weights: Weights) -> int:
        if self.sampling.min_p > 0:
            weights = np.where(weights >= np.float32(self.sampling.min_p), weights, np.float32(0))
        blocks = np.add.reduceat(weights, np.arange(0, len(weights), BLOCK), dtype=np.float64)
        block, rest = located(blocks, self.random.random() * float(blocks.sum()))
        place, _ = located(weights[block * BLOCK : (block + 1) * BLOCK], rest)
        return block * BLOCK + place


def located(weights: npt.NDArray[Any], target: float) -> tuple[int, float]:
    cumulative = np.cumsum(weights, dtype=np.float64)
    index = min(int(np.searchsorted(cumulative, target, side="right")), len(weights) - 1)
    return index, target - (float(cumulative[index - 1]) if index else 0.0)


def largest(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.intp]:
    if count >= len(values):
        return np.arange(len(values))
    ids = np.arange(len(values))
    whole = len(values) - len(values) % 128
    peaks = values[:whole].reshape(-1, 128).max(axis=1)
    if count < len(peaks):
        ids = np.flatnonzero(values >= np.partition(peaks, len(peaks) - count)[len(peaks) - count])
    return ids[np.argpartition(values[ids], len(ids) - count)[-count:]]
