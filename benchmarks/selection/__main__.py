"""Is the choice right on machines of all kinds, and how long does it take?

    python -m benchmarks.selection [--machines 500] [--seed 1] [--quick]

First a simulation: every way of choosing against a truth that none of them sees (benchmarks/selection/truth.py says how
it is drawn). Then timings, in the process and through HTTP. ``--quick`` is a look in 20 seconds: 16 machines, no HTTP.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.selection.latency import in_process, through_http
from benchmarks.selection.report import (
    MOST_HTTP_MS,
    MOST_IN_PROCESS_MS,
    choice_targets,
    choices_table,
    timing_line,
    timing_target,
)
from benchmarks.selection.simulation import figures, simulate

QUICK_MACHINES = 16
# What people have, and what a choice must be able to cope with; each in three variants.
CROWDS = (40, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few machines, few calls, no daemon")
    options = parser.parse_args()
    count = min(options.machines, QUICK_MACHINES) if options.quick else options.machines
    for line in (*_choices(count, options.seed), "", *_timings(options.seed, is_quick=options.quick)):
        print(line, flush=True)


def _choices(count: int, seed: int) -> Iterator[str]:
    machines = simulate(count, seed, workers=min(os.cpu_count() or 1, 2))
    found = figures(machines)
    yield from choices_table(machines, found, seed)
    yield from map(str, choice_targets(found))


def _timings(seed: int, *, is_quick: bool) -> Iterator[str]:
    targets = []
    for models in CROWDS:
        timing = in_process(models, 200 if is_quick else 1000, seed=seed)
        yield timing_line("in the process", timing)
        targets.append(timing_target("in the process", timing, MOST_IN_PROCESS_MS))
    for models in () if is_quick else CROWDS:
        with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as scratch:
            timing = through_http(models, 1000, Path(scratch), seed=seed)
        yield timing_line("through HTTP", timing)
        targets.append(timing_target("through HTTP", timing, MOST_HTTP_MS))
    yield from map(str, targets)


if __name__ == "__main__":
    main()
