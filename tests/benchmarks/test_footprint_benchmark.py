"""What the footprint benchmark says about its readings, and one reading of a real worker process."""

from __future__ import annotations

import pytest

from benchmarks.footprint import Case, Reading, cases, chosen, measure, report, row, summarize
from registry.model import Precision
from scripts.model_factory import PRESETS, Quantization

READING = Reading(
    name="some",
    precision=Precision.INT4,
    weight_bytes=100_000_000,
    context_tokens=512,
    loaded_bytes=200_000_000,
    resident_bytes=220_000_000,
    peak_bytes=250_000_000,
    predicted_loaded_bytes=180_000_000,
    predicted_bytes=270_000_000,
    corrected_bytes=240_000_000,
)


def test_summary_counts_what_is_within_a_tenth_on_both_sides() -> None:
    summary = summarize([0.1, -0.1, 0.11, -0.2, 0.0])
    assert summary.count == 5
    assert summary.share_within == 0.6
    assert summary.worst_under == -0.2
    assert summary.worst_over == 0.11


def test_summary_of_predictions_that_are_all_too_large_has_nothing_under() -> None:
    summary = summarize([0.02, 0.3])
    assert (summary.worst_under, summary.worst_over) == (0.0, 0.3)
    assert str(summary) == "50% of 2 within 10%, worst under +0.0%, worst over +30.0%"


def test_nothing_cannot_be_summarized() -> None:
    with pytest.raises(ValueError, match="nothing to summarize"):
        summarize([])


def test_errors_are_shares_of_what_was_measured() -> None:
    assert READING.error == pytest.approx(0.08)
    assert READING.loaded_error == pytest.approx(-0.10)
    assert READING.corrected_error == pytest.approx(-0.04)
    assert row(READING).split()[-3:] == ["+8.0%", "-10.0%", "-4.0%"]


def test_report_names_each_of_the_three_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    report([READING])
    printed = capsys.readouterr().out
    assert "formula: 100% of 1 within 10%, worst under +0.0%, worst over +8.0%" in printed
    assert "fresh: " in printed
    assert "measured: " in printed


def test_quick_run_has_each_precision_and_is_much_smaller() -> None:
    every, few = cases(), chosen(cases(), is_quick=True)
    assert {case.quantization.bits for case in few} == {4, 8, None}
    assert 3 * len(few) < len(every)
    assert chosen(every, is_quick=False) == list(every)


def test_real_worker_holds_no_more_than_was_predicted() -> None:
    """Memory is not timing: the same model takes the same, within a few MB, on every run."""
    case = Case("tiny", PRESETS["tiny"].spec, Quantization.INT4)
    (reading,) = measure(case, [2048], threads=1)
    assert 0 < reading.loaded_bytes <= reading.resident_bytes <= reading.peak_bytes
    assert 0.95 * reading.peak_bytes <= reading.predicted_bytes <= 1.5 * reading.peak_bytes
