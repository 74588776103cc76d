from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.cycles import Cycle, report, run
from scripts.model_factory import write_preset


@pytest.mark.skipif(sys.platform == "win32", reason="one of the three ends is a signal")
def test_each_way_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    cycles = asyncio.run(run(write_preset("tiny", tmp_path / "tiny"), cycles=4, tokens=2, keeps_spare=False))
    assert len(cycles) == 4
    assert len({cycle.open_files for cycle in cycles[1:]}) == 1
    assert all(cycle.worker_bytes > 20_000_000 for cycle in cycles)


def test_the_report_sets_the_last_cycles_against_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    megabyte = 1024 * 1024
    cycles = [Cycle(0.1, 0.02, 80 * megabyte, (50 + n // 60) * megabyte, 1000 * megabyte, 12) for n in range(120)]
    report("tiny", cycles)
    printed = capsys.readouterr().out
    assert "load 100 ms, stop 20 ms" in printed
    assert "resident memory of this process: 50.0 -> 51.0 MiB (+2.0%)" in printed
    assert "open files: 12 -> 12" in printed
