"""What ``tune`` prints; tests/e2e has it with a real daemon."""

from __future__ import annotations

from typing import Any

from daemon.cli.show import tuned_text
from daemon.cli.tune import measured_rows

TUNED: dict[str, Any] = {
    "threads": 3,
    "max_concurrent": 12,
    "prefill_chunk_tokens": 64,
    "machine": "A CPU, 4 cores",
    "runtime": "onnxruntime 1.32.0",
    "tuned_at": "2026-01-02T03:04:05+00:00",
}
WHERE = "(measured 2026-01-02T03:04:05+00:00 on A CPU, 4 cores with onnxruntime 1.32.0)"


def test_what_was_tuned_is_told_with_where_it_comes_from() -> None:
    assert tuned_text(TUNED) == f"3 threads, 12 requests at once, 64 prompt tokens a step {WHERE}"
    rest = {**TUNED, "max_concurrent": None, "prefill_chunk_tokens": None}
    assert tuned_text(rest) == f"3 threads {WHERE}"


def test_each_measurement_has_its_line() -> None:
    measured = [{"threads": 2, "answering": {"1": 61.04, "8": 190.0}, "reading": {"16": 178.0}}]
    assert list(measured_rows(measured)) == [
        ("2", "answers at once", "1", "61.0"),
        ("2", "answers at once", "8", "190.0"),
        ("2", "prompt tokens", "16", "178.0"),
    ]
