"""What quantisation costs in points, from pairs of scores of one model in full precision and quantised.

int4 loss = at_1b x billions^-exponent (x wide_block beyond blocks of 32), at least one billion
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median

from scripts.quality_priors.scores import DATA

FINE_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Pair:
    """``loss`` in points; ``block_size`` is None where the source does not say."""

    model: str
    billions: float
    bits: int
    block_size: int | None
    method: str
    is_tools: bool
    benchmark: str
    loss: float


@dataclass(frozen=True, slots=True)
class Loss:
    at_1b: float
    exponent: float

    def points(self, billions: float) -> float:
        return self.at_1b * float(max(1.0, billions) ** -self.exponent)


def read_pairs(file: Path = DATA / "quantised_scores.csv") -> tuple[Pair, ...]:
    with file.open(encoding="utf-8", newline="") as lines:
        return tuple(
            Pair(
                model=row["model"],
                billions=float(row["params_b"]),
                bits=int(row["bits"]),
                block_size=int(row["block_size"]) if row["block_size"] else None,
                method=row["method"],
                is_tools=row["task"] == "tools",
                benchmark=row["benchmark"],
                loss=float(row["full_precision"]) - float(row["quantised"]),
            )
            for row in csv.DictReader(lines)
        )


def is_plain(pair: Pair) -> bool:
    """Rounded to the nearest, without calibration: what exports usually are, and what a folder does not tell."""
    return pair.method == "rtn"


def fit_int4(pairs: Sequence[Pair], wide_block: float) -> Loss:
    """Least absolute error, as single benchmarks are far off. ``wide_block`` brings all to blocks of 32."""
    known = [(p.billions, p.loss / (wide_block if (p.block_size or FINE_BLOCK) > FINE_BLOCK else 1)) for p in pairs]
    grid = product((a / 10 for a in range(10, 121)), (e / 20 for e in range(30)))
    return min((Loss(a, e) for a, e in grid), key=lambda law: fmean(abs(loss - law.points(b)) for b, loss in known))


def quantisation_table(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Plain rounding counts for the text tasks; tools are compared with the law of their own method."""
    int4 = [pair for pair in pairs if pair.bits == 4]
    text = [pair for pair in int4 if not pair.is_tools]
    wide = wide_block_factor(text)
    plain = fit_int4([pair for pair in text if is_plain(pair)], wide)
    calibrated = fit_int4([pair for pair in text if not is_plain(pair)], wide)
    tools = fmean(p.loss - (plain if is_plain(p) else calibrated).points(p.billions) for p in int4 if p.is_tools)
    return {
        "int4": {"at_1b": plain.at_1b, "exponent": plain.exponent, "wide_block": wide, "tools": round(tools, 1)},
        "int8": {"loss": round(median(pair.loss for pair in pairs if pair.bits == 8), 1)},
    }


def wide_block_factor(pairs: Sequence[Pair]) -> float:
    """Mean ratio of the losses of one model on one benchmark, with wider blocks and with blocks of 32."""
    ratios = [
        wide.loss / fine.loss
        for fine, wide in product(pairs, pairs)
        if fine.block_size == FINE_BLOCK < (wide.block_size or 0)
        and (fine.model, fine.benchmark, fine.method) == (wide.model, wide.benchmark, wide.method)
    ]
    return round(fmean(ratios), 2)
