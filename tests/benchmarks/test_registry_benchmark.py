"""The benchmark of the registry runs from end to end; its figures for a few folders mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bare_walk import parsing_walk, stat_walk
from benchmarks.registry import PARSERS, Bare, Daemons, Scans, report
from scripts.model_factory.many import many

ROOT = Path(__file__).parents[2]


def test_it_measures_everything_that_it_reports() -> None:
    options = ["--folders", "12", "--rounds", "1", "--rest", "0.1", "--json"]
    command = [sys.executable, "-m", "benchmarks.registry", *options]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    figures = json.loads(done.stdout)
    scans, daemon = Scans(**figures["scans"]), Daemons(**figures["daemon"])

    assert figures["folders"] == 12
    assert scans.bare.keys() == PARSERS.keys()
    assert min(scans.first_s, scans.rescan_s, scans.stat_s) > 0
    assert daemon.noticed_s > 0.9  # settle_s is 1
    assert min(daemon.list_all_s, daemon.list_page_s) > 0


def test_bare_walks_visit_every_file(tmp_path: Path) -> None:
    many(tmp_path, 3)
    parsed: list[str] = []

    assert stat_walk(tmp_path) == 27
    assert parsing_walk(tmp_path, parsed.append) == 27
    assert len(parsed) == 3
    assert all(parse(parsed[0]) for parse in PARSERS.values())


def test_report_names_each_limit(capsys: pytest.CaptureFixture[str]) -> None:
    scans = Scans(
        first_s=2.0,
        bare={"only parsed": Bare(1.0, 2.0), "read out": Bare(0.5, 4.0)},
        rescan_s=0.3,
        stat_s=0.2,
        rescan_ratio=1.5,
    )
    daemons = Daemons(
        noticed_s=1.1,
        list_all_s=0.1,
        list_page_s=0.005,
        bytes_per_model=4200,
        listing_bytes_per_model=10,
        restarted_bytes_per_model=3100,
    )

    report(10, 3, scans, daemons)
    printed = capsys.readouterr().out

    for figure in (
        "ratio 2.00, limit 2",
        "read out: 0.50 s (ratio 4.00, limit 2)",
        "ratio 1.50, limit 1.5",
        "limit 150",
        "4.2 KB a model (limit 5)",
    ):
        assert figure in printed
