"""The timings are of what they say: few models here, whose figures mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.selection.baselines import BASELINES
from benchmarks.selection.latency import Timing, in_process, percentile, through_http
from benchmarks.selection.report import Target, choice_targets, timing_line, timing_target
from benchmarks.selection.simulation import KNOWING, OURS, OURS_TESTED, Figures
from daemon.cli.daemon_link import find_daemon
from daemon.paths import Paths


def test_percentile_is_a_value_that_was_seen() -> None:
    values = [float(number) for number in range(100, 0, -1)]

    assert percentile(values, 0.99) == 99
    assert percentile(values, 0.5) == 50
    assert percentile(values, 1.0) == 100
    assert percentile([7.0], 0.99) == 7


def test_choices_are_timed_in_the_process() -> None:
    timing = in_process(4, 10)

    assert timing.candidates == 12
    assert 0 < timing.median_ms <= timing.p99_ms
    assert timing.ledger_ms > 0
    assert timing.first_ms > 0


def test_choices_are_timed_through_a_real_daemon(tmp_path: Path) -> None:
    timing = through_http(2, 3, tmp_path)

    assert timing.candidates == 6
    assert 0 < timing.median_ms <= timing.p99_ms
    home = {"SLMREG_HOME": str(tmp_path / "home")}
    assert Paths.from_environment(home).database.exists()
    assert find_daemon(Paths.from_environment(home).run_file) is None  # it was stopped


def test_a_timing_is_told_with_its_candidates_and_held_against_its_limit() -> None:
    timing = Timing(candidates=3000, median_ms=1.25, p99_ms=6.0, first_ms=400.0, ledger_ms=900.0)

    assert timing_line("here", timing) == (
        "here, 3000 candidates: median 1.25 ms, p99 6.00 ms; first 400 ms; with the whole ledger 900 ms"
    )
    assert str(timing_target("here", timing, 5.0)) == "MISSED: p99 here, 3000 candidates: 6.00 ms (limit 5.00 ms)"
    assert timing_target("here", timing, 6.0).is_met


@pytest.mark.parametrize(
    ("ours", "failed", "met"),
    [(2.0, 0.0, [True, True, True]), (4.0, 0.0051, [False, True, False]), (5.1, 0.0, [True, False, False])],
)
def test_targets_are_held_against_the_worst_of_our_rows_and_the_best_of_the_others(
    ours: float, failed: float, met: list[bool]
) -> None:
    def row(regret: float, failed_share: float = 0.0) -> Figures:
        return Figures(10, regret, 2 * regret, failed_share, 0.0, None)

    rows = {name: row(1.0) for name in (*OURS.values(), OURS_TESTED, KNOWING)}
    others = {name: row(10.0 + place) for place, name in enumerate(BASELINES)}
    learned = {OURS[20]: row(ours, failed)}

    targets = choice_targets(rows | others | learned)

    assert [target.is_met for target in targets] == met


def test_a_target_says_whether_it_is_met() -> None:
    assert str(Target("share", 0.4, 0.5, "%")) == "met: share: 0.40% (limit 0.50%)"
