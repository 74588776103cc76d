"""Calls that are timed for a tuning, on a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.pool.protocol import Failed, Generate, Load, Measure, Measured
from daemon.worker.loading import load_engine
from daemon.worker.served import ServedModel


def engine_of(folder: Path, **changes: Any) -> ServedModel:
    fields = {"execution_provider": "cpu", "threads": 1, "context_tokens": 1024, "max_concurrent": 4, **changes}
    return load_engine(Load(path=str(folder), **fields))[0]


@pytest.mark.parametrize("kind", ["batched", "generator"])
def test_every_call_is_timed_and_no_row_stays(tiny_model: Path, kind: str) -> None:
    engine = engine_of(tiny_model, engine=kind)
    for rows, tokens in ((1, 1), (4, 1), (1, 200), (4, 1)):
        (measured,) = engine.handle(Measure(request_id="m", rows=rows, tokens=tokens, calls=3))
        assert isinstance(measured, Measured)
        assert len(measured.call_s) == 3
        assert min(measured.call_s) > 0
    assert engine.is_idle
    assert engine.pulse().row_tokens == []


def test_more_rows_than_there_are_fail_and_leave_none_behind(tiny_model: Path) -> None:
    engine = engine_of(tiny_model, kept_rows=0)
    (failed,) = engine.handle(Measure(request_id="m", rows=6, tokens=1, calls=1))
    assert isinstance(failed, Failed)
    assert "rows are in use" in failed.message
    (measured,) = engine.handle(Measure(request_id="m", rows=5, tokens=1, calls=1))
    assert isinstance(measured, Measured)


def test_who_is_answered_is_not_measured(tiny_model: Path) -> None:
    engine = engine_of(tiny_model)
    engine.handle(Generate(request_id="a", messages=[{"role": "user", "content": "Hi"}], max_tokens=5))
    (failed,) = engine.handle(Measure(request_id="m", rows=1, tokens=1, calls=1))
    assert isinstance(failed, Failed)
    assert "another time" in failed.message
