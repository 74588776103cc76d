"""What a short measurement says of how a model runs best here. Pure.

Nothing of it is measured at a first load. Another number of threads needs another load, and sizes of pieces and drafts
are adapted to measured times at work anyway (``daemon.worker.pace``): ``slmreg tune`` takes as long as several loads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Requests at the same time, and tokens of a prompt in one call, of which each is timed.
ROWS = (1, 2, 4, 8, 12, 16)
PIECES = (16, 32, 64, 128, 256, 512)
# No piece takes longer when answers wait for it, so that larger ones need not be known.
LONGEST_PIECE_S = 0.25
# What has to be gained for something else than usual: two measurements of the same differ by less (2 cores, 0.5B).
_LEAST_GAIN = 1.08
# What twice the requests together have to bring; less only makes each of them slower.
_LEAST_GAIN_OF_ROWS = 1.1
# How much slower a smaller piece may be, which lets others wait for less.
_MOST_LOSS = 0.97
# As where nothing was tuned (``daemon.worker.rooms``).
_LEAST_ROWS, _LEAST_ROW_TOKENS = 4, 512


@dataclass(frozen=True, slots=True)
class Trial:
    """Seconds of a call: by requests that get a token each, and by tokens of a prompt."""

    threads: int
    step_s: Mapping[int, float]
    read_s: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """None: as usual."""

    threads: int
    prefill_chunk_tokens: int | None
    max_concurrent: int | None


def thread_counts(physical_cores: int, usable_cores: int) -> list[int]:
    """Which are worth a try, what is used otherwise first: all cores, all but one, half of them."""
    counts = [usable_cores, min(physical_cores, usable_cores), usable_cores - 1, usable_cores // 2]
    return list(dict.fromkeys(count for count in counts if count > 0))


def is_in_doubt(trials: Sequence[Trial]) -> bool:
    """Whether something else than usual seems to be faster, so that the usual should be measured once more: the
    machine may have been busy just then."""
    return best_of(trials) is not trials[0]


def merged(one: Trial, other: Trial) -> Trial:
    """Of two trials with the same number of threads the better of each time: whatever disturbs makes slower."""
    return Trial(one.threads, _better(one.step_s, other.step_s), _better(one.read_s, other.read_s))


def verdict(trials: Sequence[Trial], *, is_batched: bool) -> Verdict:
    """The first trial is with the usual number of threads."""
    best = best_of(trials)
    return Verdict(best.threads, _piece_of(best.read_s), _rows_of(best.step_s) if is_batched else None)


def best_of(trials: Sequence[Trial]) -> Trial:
    """The fastest, if it is so by more than two measurements of the same may differ; else the first."""
    best = max(trials, key=_speed)
    return best if _speed(best) >= _LEAST_GAIN * _speed(trials[0]) else trials[0]


def rows_in(context_tokens: int, wanted: int) -> int:
    """``wanted`` requests at the same time, or as many as have a room that is of use in so long a cache."""
    return min(wanted, max(_LEAST_ROWS, context_tokens // _LEAST_ROW_TOKENS))


def _speed(trial: Trial) -> float:
    """Tokens per second, the geometric mean of one answer, of several and of a prompt."""
    rates = [*_rates(trial.step_s, (1, 8)), *_rates(trial.read_s, (16,))]
    return math.prod(rates) ** (1 / len(rates)) if rates else 0.0


def _better(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {size: min(each[size] for each in (one, other) if size in each) for size in sorted({*one, *other})}


def _rates(seconds: Mapping[int, float], sizes: Iterable[int]) -> list[float]:
    return [size / seconds[size] for size in sizes if seconds.get(size)]


def _piece_of(read_s: Mapping[int, float]) -> int | None:
    """The smallest that reads nearly as fast as any."""
    rates = {size: size / seconds for size, seconds in read_s.items() if seconds}
    if len(rates) < len(PIECES):  # a model so slow that its pieces are cut by time
        return None
    return min(size for size, rate in rates.items() if rate >= _MOST_LOSS * max(rates.values()))


def _rows_of(step_s: Mapping[int, float]) -> int | None:
    """As many as bring something to all of them together."""
    rates = {size: size / seconds for size, seconds in sorted(step_s.items()) if seconds}
    if len(rates) < 2:
        return None
    chosen = next(iter(rates))
    for size, rate in rates.items():
        least = 1 + (_LEAST_GAIN_OF_ROWS - 1) * math.log2(size / chosen) if size > chosen else 1.0
        if rate >= least * rates[chosen]:
            chosen = size
    return chosen
