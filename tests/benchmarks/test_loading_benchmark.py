from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.loading import builds, main
from scripts.model_factory import write_preset


def test_each_way_to_load_a_model_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_preset("tiny", tmp_path / "tiny")
    main([str(folder), "--threads", "1", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:30].rstrip() for line in lines] == list(builds(folder, 1))
    assert all(float(line[30:].removesuffix(" ms")) > 0 for line in lines)
