"""What is printed: compact tables, and for each target whether it is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.selection.baselines import BASELINES
from benchmarks.selection.latency import Timing
from benchmarks.selection.simulation import KNOWING, OURS, OURS_TESTED, TASKS, Figures, Machine
from benchmarks.selection.truth import FAILURE_LOSS

MOST_FAILED_SHARE = 0.005
MOST_OF_THE_BEST = 0.5
MOST_LEARNED_REGRET = 2.0
MOST_IN_PROCESS_MS = 5.0
MOST_HTTP_MS = 10.0
_WIDTH = max(map(len, (*OURS.values(), OURS_TESTED, KNOWING, *BASELINES)))


@dataclass(frozen=True, slots=True)
class Target:
    """``figure`` is to be ``limit`` at most."""

    what: str
    figure: float
    limit: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.figure <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.is_met else "MISSED"
        return f"{verdict}: {self.what}: {self.figure:.2f}{self.unit} (limit {self.limit:.2f}{self.unit})"


def choices_table(machines: Sequence[Machine], found: Mapping[str, Figures], seed: int) -> Iterator[str]:
    """Line by line: every strategy, then slmreg task by task."""
    choices = next(iter(found.values())).choices
    yield f"{len(machines)} machines x {len(TASKS)} tasks = {choices} choices, seed {seed}"
    yield f"regret in points; {FAILURE_LOSS:.0f} for a pick that does not fit, and for none where something fits"
    yield f"{'':{_WIDTH}}  {'mean':>6} {'p95':>6} {'does not fit':>13} {'none':>7} {'flaps':>6}"
    for strategy in (*OURS.values(), OURS_TESTED, *BASELINES, KNOWING):
        each = found[strategy]
        flaps = "" if each.flaps is None else f"{each.flaps:6.1f}"
        line = f"{strategy:{_WIDTH}}  {each.mean_regret:6.2f} {each.p95_regret:6.1f} "
        yield f"{line}{each.failed_share:13.2%} {each.missing_share:7.2%} {flaps}".rstrip()
    yield "flaps: changes of the model in 100 requests while free memory moves"
    yield from _by_task(machines)
    yield _reserved(machines)


def choice_targets(found: Mapping[str, Figures]) -> tuple[Target, ...]:
    """Held against every row of slmreg, the worst one counts."""
    ours = [found[name] for name in (*OURS.values(), OURS_TESTED)]
    best_other = min(found[name].mean_regret for name in BASELINES)
    worst = max(each.mean_regret for each in ours)
    failed = max(each.failed_share for each in ours)
    learned = found[OURS[max(OURS)]].mean_regret
    return (
        Target("picks that do not fit", 100 * failed, 100 * MOST_FAILED_SHARE, "%"),
        Target("mean regret against half of the best of the others", worst, MOST_OF_THE_BEST * best_other, ""),
        Target(f"mean regret after {max(OURS)} requests", learned, MOST_LEARNED_REGRET, ""),
    )


def timing_line(where: str, timing: Timing) -> str:
    return (
        f"{where}, {timing.candidates} candidates: median {timing.median_ms:.2f} ms, p99 {timing.p99_ms:.2f} ms; "
        f"first {timing.first_ms:.0f} ms; with the whole ledger {timing.ledger_ms:.0f} ms"
    )


def timing_target(where: str, timing: Timing, limit_ms: float) -> Target:
    return Target(f"p99 {where}, {timing.candidates} candidates", timing.p99_ms, limit_ms, " ms")


def _by_task(machines: Sequence[Machine]) -> Iterator[str]:
    for strategy in (OURS[max(OURS)], KNOWING):
        means = (
            fmean(o.regret for m in machines for o in m.outcomes if (o.strategy, o.task) == (strategy, task))
            for task in TASKS
        )
        yield f"{strategy}: " + ", ".join(f"{task} {mean:.1f}" for task, mean in zip(TASKS, means, strict=True))


def _reserved(machines: Sequence[Machine]) -> str:
    """Where slmreg chooses nothing: is it because of what it always leaves to other programs?"""
    missing = [o for m in machines for o in m.outcomes if o.strategy == OURS[0] and o.is_missing]
    reserved = sum(outcome.is_reserved for outcome in missing)
    return (
        f"slmreg chose nothing {len(missing)} times although something fits; {reserved} times that would have taken "
        "memory which is always left to other programs"
    )
