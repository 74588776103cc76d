"""The residuals in words: what the fit found, and how far off it is for what it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from registry.model import Task
from scripts.quality_priors.fit import best_spreads, size_only_spreads
from scripts.quality_priors.quantisation import is_plain, quantisation_table, read_pairs
from scripts.quality_priors.scores import read_scores
from scripts.quality_priors.validation import HELD_OUT, hold_out


def report(tasks: Iterable[Task] = tuple(Task)) -> Iterator[str]:
    yield from _tasks(tasks)
    yield ""
    yield from _quantisation()


def _tasks(tasks: Iterable[Task]) -> Iterator[str]:
    """Points are the mean absolute error of a model's scores; within: misses within one and two expected spreads."""
    yield "task           held out  size only: points  within 1, 2  with families and models: points  within 1, 2     n"
    scores = read_scores()
    for task in tasks:
        own = [score for score in scores if score.task is task]
        if not own:
            continue
        simple, full = size_only_spreads(own), best_spreads(own)
        for what in HELD_OUT:
            before, after = hold_out(own, simple, what), hold_out(own, full, what)
            if before is None or after is None:
                continue
            yield (
                f"{task.value:14} {what:9} {before.mean_points:17.1f} {before.within_1:9.0%} {before.within_2:4.0%}"
                f" {after.mean_points:30.1f} {after.within_1:9.0%} {after.within_2:4.0%} {after.count:5}"
            )
        yield (
            f"{task.value:14} spreads   family {full.family:g}, model {full.model:g}, benchmark {full.benchmark:g},"
            f" noise {full.noise:g} ({len(own)} scores)"
        )


def _quantisation() -> Iterator[str]:
    pairs = read_pairs()
    table = quantisation_table(pairs)
    yield f"int4 points lost: {table['int4']}; int8: {table['int8']}"
    text = [pair for pair in pairs if pair.bits == 4 and not pair.is_tools]
    for is_fitted in (True, False):
        group = [pair for pair in text if is_plain(pair) is is_fitted]
        law = table["int4"]
        misses = [abs(p.loss - law["at_1b"] * max(1.0, p.billions) ** -law["exponent"]) for p in group]
        name = "rounded to the nearest" if is_fitted else "calibrated methods"
        yield f"  {name}: {sum(misses) / len(misses):.1f} points off over {len(group)} pairs"
