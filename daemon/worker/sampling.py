"""Which token comes next: a pure function of the logits, the request's parameters and its own random stream.

Invariant: a request draws only from a generator that nobody else uses, so that the same seed gives the same text
whatever else runs.

Order of the steps: penalties and biases, what a form allows, temperature, top-k, top-p over what is left, min-p.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from registry.errors import GenerationFailed

if TYPE_CHECKING:
    from daemon.worker.constraint import Constraint

Logits = npt.NDArray[np.floating[Any]]
_Ids = npt.NDArray[np.intp]
_Weights = npt.NDArray[np.float32]

# A nucleus is nearly always this small. Finding the 512 largest of 152k takes 0.2 ms, sorting them all 10 ms.
_USUAL_NUCLEUS = 512
# A running sum over 152k weights in double precision takes 1 ms; sums of blocks are a tenth of that.
_DRAW_BLOCK = 512
# How many neighbours stand for one another where the largest of all are looked for.
_PEAK_BLOCK = 128
# Below this, differences of logits overflow single precision; it is as good as greedy.
_LEAST_TEMPERATURE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """``temperature`` 0 is greedy. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 are off. ``seed`` None draws a fresh one.

    ``repetition_penalty`` (1 is off) divides positive and multiplies negative logits of tokens in the prompt or the
    answer, as in Hugging Face's generate. As in OpenAI's API, ``presence_penalty`` is subtracted once from those of
    tokens in the answer, ``frequency_penalty`` once for each time they are in it, and ``logit_bias`` is added by id.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)


class Sampler:
    """Picks tokens for one answer to ``prompt``.

    None of ``end_ids`` comes before ``min_tokens`` others, unless nothing else may come. ``constraint`` is the form
    that the answer must have.
    """

    def __init__(
        self,
        sampling: SamplingParams,
        *,
        prompt: Sequence[int] = (),
        end_ids: frozenset[int] = frozenset(),
        min_tokens: int = 0,
        constraint: Constraint | None = None,
    ) -> None:
        self.sampling = sampling
        self.min_tokens = min_tokens
        # Seeds of 64 bits with sign are legal in OpenAI's API; numpy takes no negative ones.
        seed = None if sampling.seed is None else sampling.seed % 2**64
        self._random = np.random.default_rng(seed)
        self._adjustment = Adjustment(sampling, prompt)
        self._end_ids = end_ids
        self._end_list = np.array(sorted(end_ids), dtype=np.intp)
        self._tokens_before_end = min_tokens
        self._constraint = constraint

    @property
    def has_constraint(self) -> bool:
        """Whether the answer must have a form."""
        return self._constraint is not None

    @property
    def is_complete(self) -> bool:
        """True once the answer has its whole form: nothing more may follow."""
        return self._constraint is not None and self._constraint.is_complete

    def fitting(self, tokens: Sequence[int]) -> Sequence[int]:
        """The beginning of ``tokens`` that may come next, as far as the form of the answer is concerned."""
        return tokens if self._constraint is None else tokens[: self._constraint.fitting(tokens)]

    def pick(self, logits: Logits) -> int:
        """The next token's id. ``logits`` has shape [vocab].

        Raises GenerationFailed if they hold NaN, +inf, or nothing above -inf, or if no token may come.
        """
        adjusted, best = self._adjusted(logits)
        return self._taken(adjusted, best)

    def pick_clear(self, logits: Logits, least_margin: float) -> int | None:
        """Like ``pick``; None, and nothing has happened, where the two likeliest of a greedy choice are closer than
        ``least_margin``."""
        adjusted, best = self._adjusted(logits)
        if self.sampling.temperature <= 0 and _margin(adjusted) < least_margin:
            return None
        return self._taken(adjusted, best)

    def _adjusted(self, logits: Logits) -> tuple[Logits, int | None]:
        """The logits after penalties, biases and the form, and the largest's id, None where it was not looked for.

        Raises GenerationFailed.
        """
        best = int(np.argmax(logits))  # NaN counts as the largest here
        if not np.isfinite(logits[best]):
            raise GenerationFailed(
                "The model computed logits that are not numbers (NaN or infinite). Its weights are damaged, or its "
                "precision does not suit this device: try another variant of the model."
            )
        adjusted = self._without_end(self._constrained(self._adjustment.apply(logits)))
        return adjusted, best if adjusted is logits else None

    def _taken(self, adjusted: Logits, best: int | None) -> int:
        """Choose, and count the choice as part of the answer."""
        if self.sampling.temperature > 0:
            token = self._drawn(adjusted)
        else:
            token = int(np.argmax(adjusted)) if best is None else best
        self._tokens_before_end -= 1
        self._adjustment.count(token)
        if self._constraint is not None and token not in self._end_ids:
            self._constraint.accept(token)
        return token

    def _constrained(self, logits: Logits) -> Logits:
        if self._constraint is None:
            return logits
        allowed = self._constraint.apply(logits)
        if not np.isfinite(allowed.max()):
            raise GenerationFailed("No token of the model can continue the form that the answer must have.")
        return allowed

    def _without_end(self, logits: Logits) -> Logits:
        if self._tokens_before_end <= 0:
            return logits
        rest = logits.copy()
        rest[self._end_list[self._end_list < len(rest)]] = -np.inf
        return rest if np.isfinite(rest.max()) else logits

    def _drawn(self, logits: Logits) -> int:
        ids = None
        if 0 < self.sampling.top_k < len(logits):
            ids = largest(logits, self.sampling.top_k)
            logits = logits[ids]
        weights = self._weights(logits)
        drawn = self._draw_from_nucleus(weights) if self.sampling.top_p < 1 else self._draw_likely(weights)
        return drawn if ids is None else int(ids[drawn])

    def _weights(self, logits: Logits) -> _Weights:
        """Unnormalised probabilities. In single precision, which is ten times as fast for 152k logits."""
        weights: _Weights = np.subtract(logits, logits.max(), dtype=np.float32)
        if self.sampling.temperature != 1:
            weights /= np.float32(max(self.sampling.temperature, _LEAST_TEMPERATURE))
        return np.exp(weights, out=weights)

    def _draw_from_nucleus(self, weights: _Weights) -> int:
        """Index of one of the fewest largest weights that make up at least ``top_p`` of the sum."""
        target = self.sampling.top_p * float(weights.sum(dtype=np.float64))
        top = largest(weights, _USUAL_NUCLEUS)
        top = top[np.argsort(-weights[top], kind="stable")]
        cumulative = np.cumsum(weights[top], dtype=np.float64)
        if cumulative[-1] >= target or len(top) == len(weights):
            nucleus = top[: int(np.searchsorted(cumulative, target)) + 1]
            return int(nucleus[self._draw_likely(weights[nucleus])])
        # So flat a distribution that sorting it would cost as much as the model: draw until one of the nucleus comes.
        while _mass_ahead(weights, drawn := self._draw_likely(weights)) >= target:
            pass
        return drawn

    def _draw_likely(self, weights: _Weights) -> int:
        """Index of one of the weights that are at least ``min_p`` of the largest, which is 1."""
        if self.sampling.min_p > 0:
            weights = weights * (weights >= np.float32(self.sampling.min_p))
        return self._draw(weights)

    def _draw(self, weights: _Weights) -> int:
        """Index of one of ``weights``, drawn in proportion: first its block, then its place there."""
        blocks = np.add.reduceat(weights, np.arange(0, len(weights), _DRAW_BLOCK), dtype=np.float64)
        block, rest = _locate(blocks, self._random.random() * float(blocks.sum()))
        start = block * _DRAW_BLOCK
        place, _ = _locate(weights[start : start + _DRAW_BLOCK], rest)
        return start + place


class Adjustment:
    """What is added to and taken from the logits of single tokens, by what the prompt and the answer hold so far."""

    def __init__(self, sampling: SamplingParams, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._bias_ids = np.array(list(sampling.logit_bias), dtype=np.intp)
        self._biases = np.array(list(sampling.logit_bias.values()), dtype=np.float32)
        self._repeats = sampling.repetition_penalty != 1
        self._counts_answer = sampling.frequency_penalty != 0 or sampling.presence_penalty != 0
        self._seen = np.unique(np.array(prompt if self._repeats else (), dtype=np.intp))
        self._answer: dict[int, int] = {}

    def apply(self, logits: Logits) -> Logits:
        """The adjusted logits in single precision, or ``logits`` themselves if there is nothing to do."""
        if not (self._repeats or self._counts_answer or len(self._bias_ids)):
            return logits
        adjusted = logits.astype(np.float32)
        is_known = self._bias_ids < len(adjusted)
        adjusted[self._bias_ids[is_known]] += self._biases[is_known]
        if self._repeats:
            seen = self._seen[: np.searchsorted(self._seen, len(adjusted))]
            penalty = np.float32(self._sampling.repetition_penalty)
            adjusted[seen] = np.where(adjusted[seen] < 0, adjusted[seen] * penalty, adjusted[seen] / penalty)
        if self._counts_answer and self._answer:
            ids = np.fromiter(self._answer, dtype=np.intp)
            counts = np.fromiter(self._answer.values(), dtype=np.float32)
            adjusted[ids] -= self._sampling.frequency_penalty * counts + self._sampling.presence_penalty
        return adjusted

    def count(self, token: int) -> None:
        """``token`` is now part of the answer."""
        if self._counts_answer:
            self._answer[token] = self._answer.get(token, 0) + 1
        if self._repeats:
            place = int(np.searchsorted(self._seen, token))
            if place == len(self._seen) or self._seen[place] != token:
                self._seen = np.insert(self._seen, place, token)


def _locate(weights: npt.NDArray[Any], target: float) -> tuple[int, float]:
    """Where the running sum of ``weights`` passes ``target``, and how much of the target is left before that."""
    cumulative = np.cumsum(weights, dtype=np.float64)
    index = min(int(np.searchsorted(cumulative, target, side="right")), len(weights) - 1)
    return index, target - (float(cumulative[index - 1]) if index else 0.0)


def largest(values: npt.NDArray[Any], count: int) -> _Ids:
    """Indices of the ``count`` largest values, in no particular order.

    None of them is below the ``count``-th largest of the greatest values of blocks, and few others are not: that leaves
    little to sort, a tenth of the time for 152k values.
    """
    if count >= len(values):
        return np.arange(len(values))
    whole = len(values) - len(values) % _PEAK_BLOCK
    if count >= whole // _PEAK_BLOCK:
        return np.argpartition(values, len(values) - count)[-count:]
    peaks = np.maximum.reduceat(values[:whole], np.arange(0, whole, _PEAK_BLOCK))
    ids = np.flatnonzero(values >= np.partition(peaks, len(peaks) - count)[len(peaks) - count])
    return ids[np.argpartition(values[ids], len(ids) - count)[-count:]]


def _mass_ahead(weights: _Weights, index: int) -> float:
    """Sum of the weights that come before ``index`` when they are ordered, largest first, equal ones by place."""
    weight = weights[index]
    equals = int(np.count_nonzero(weights[:index] == weight))
    # To multiply is four times as fast as to pick out.
    return float((weights * (weights > weight)).sum(dtype=np.float64)) + equals * float(weight)


def _margin(logits: Logits) -> float:
    """How far the largest is above the second."""
    best = int(np.argmax(logits))
    second = max((float(part.max()) for part in (logits[:best], logits[best + 1 :]) if len(part)), default=-np.inf)
    return float(logits[best]) - second
