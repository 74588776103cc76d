"""What the serving benchmark says about its readings, and one run of it with a small model."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving.figures import Figure, median_ratio
from benchmarks.serving.measures import PARTS
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.served import Stream

ROOT = Path(__file__).parents[2]
STREAM = Stream(10.0, [10.5, 10.6, 11.0, 11.1], "words", 16, 13, 0, 11.1)


def test_first_token_is_timed_from_the_request_and_the_rate_from_the_first_token() -> None:
    assert STREAM.ttft_s == pytest.approx(0.5)
    assert STREAM.tokens_per_second == pytest.approx(12 / 0.6)


def test_longest_gap_counts_those_that_reach_into_the_time() -> None:
    assert STREAM.longest_gap_s(0.0, 20.0) == pytest.approx(0.4)
    assert STREAM.longest_gap_s(10.7, 10.8) == pytest.approx(0.4)
    assert STREAM.longest_gap_s(11.05, 11.2) == pytest.approx(0.1)
    assert STREAM.longest_gap_s(12.0, 13.0) == 0.0


def test_ratio_is_that_of_pairs_so_that_a_machine_that_drifts_does_not_count() -> None:
    assert median_ratio([50.0, 25.0, 90.0], [50.0, 25.0, 100.0]) == 1.0


@pytest.mark.parametrize(("value", "is_floor", "is_met"), [(0.9, True, False), (0.9, False, True), (0.95, True, True)])
def test_limit_is_a_floor_or_a_ceiling(*, value: float, is_floor: bool, is_met: bool) -> None:
    figure = Figure("speed", value, "x bare", 0.95, "of two", is_floor=is_floor)
    assert figure.is_met is is_met
    assert str(figure).startswith("ok" if is_met else "MISSED")


def test_prompts_have_the_length_that_is_asked_for_and_none_comes_twice() -> None:
    prompts = Prompts(0, lambda text: 12 + len(text.split()))
    fresh = [prompts.fresh(16) for _ in range(20)]
    assert {len(prompt.split()) for prompt in fresh} == {4}
    assert len(set(fresh)) == 20
    assert len(prompts.fresh(1).split()) == 1


def test_a_run_prints_each_figure_with_its_limit() -> None:
    # One waits until the pool has changed its mind, and for the other a stream of this model is over too soon.
    parts = [name for name in PARTS if name not in ("two", "load")]
    options = ["--preset", "tiny", "--rounds", "1", "--tokens", "64", "--only", *parts]

    command = [sys.executable, "-m", "benchmarks.serving", *options]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=240)

    assert done.returncode in (0, 1), done.stderr  # of a model this small the figures mean nothing
    assert "idle daemon" in done.stdout, done.stderr
    for name in ("one stream", "second turn", "beside a long prompt", "client leaves", "hot swap"):
        assert name in done.stdout


def test_a_run_for_batching_compares_several_streams_with_one() -> None:
    options = ["--preset", "tiny", "--engine", "batching", "--rounds", "1", "--tokens", "64"]

    command = [sys.executable, "-m", "benchmarks.serving", *options, "--only", "streams", "onnxruntime", "prefill"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=240)

    assert done.returncode in (0, 1), done.stderr
    for name in ("4 streams", "8 streams", "one stream", "prefill"):
        assert name in done.stdout


def test_a_stream_that_was_read_all_at_once_is_as_fast_as_can_be() -> None:
    assert Stream(0.0, (1.0, 1.0), "ab", 1, 2, 0, 1.0).tokens_per_second == math.inf
    assert Stream(0.0, (1.0, 1.5), "ab", 1, 2, 0, 1.5).tokens_per_second == 2


def test_a_part_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks.serving", "--engine", "batching", "--only", "swap"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "streams, onnxruntime, prefill" in done.stderr
