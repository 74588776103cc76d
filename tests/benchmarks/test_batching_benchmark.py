from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.batching import main
from scripts.model_factory import write_preset


def test_both_backends_are_measured_in_each_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_preset("tiny", tmp_path / "tiny")
    main([str(folder), "--threads", "1", "--seconds", "0.02", "--rows", "1", "3"])
    head, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["batched", "generator"]
    assert [line[:-2] for line in lines] == [["1", "rows"], ["3", "rows"], ["prefill"]]
    assert all(float(speed) > 0 for line in lines for speed in line[-2:])
