"""What ``ps`` says of a session, and what ``load`` refuses; tests/e2e has both with a real daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daemon.cli import main
from daemon.cli.output import whole_time
from daemon.cli.sessions import _FIGURES, _WORDS, _engine_lines, _failure_lines, _row

IDLE: dict[str, Any] = {
    "id": "m:1",
    "state": "ready",
    "pid": 7,
    "resident_bytes": 1_500_000_000,
    "active": 0,
    "queued": 0,
    "device": "cpu",
    "threads": 3,
    "context_tokens": 4096,
    "engine": "generator",
    "engine_reason": None,
    "max_concurrent": 8,
    "kv_bytes": 0,
    "row_bytes": [],
    "kept_bytes": [],
    "reserved_tokens": 0,
    "cache_tokens": 4096,
    "idle_s": 60.0,
    "expires_s": 540.0,
    "pinned": False,
    "failure": None,
}


def shown(**fields: Any) -> dict[str, str]:
    return dict(zip((*_WORDS, *_FIGURES), _row({**IDLE, **fields}), strict=True))


def test_ps_shows_what_a_session_needs_and_does() -> None:
    assert shown() == {
        "ID": "m:1",
        "STATE": "ready",
        "DEVICE": "cpu",
        "ENGINE": "generator",
        "MEMORY": "1.5 GB",
        "KV": "0 B",
        "CONTEXT": "4096",
        "THREADS": "3",
        "ACTIVE": "0/8",
        "QUEUED": "0",
        "UNTIL": "in 9 min",
        "PID": "7",
    }


@pytest.mark.parametrize(
    ("fields", "until"),
    [
        ({"expires_s": 0.2}, "in 1 s"),
        ({"expires_s": None}, "never"),
        ({"expires_s": None, "pinned": True}, "never"),
        ({"active": 1}, "in use"),
        ({"active": 1, "expires_s": None, "pinned": True}, "never"),
        ({"state": "loading", "expires_s": None}, "-"),
        ({"state": "draining", "active": 1}, "-"),
    ],
)
def test_ps_says_how_long_a_session_stays(fields: dict[str, Any], until: str) -> None:
    assert shown(**fields)["UNTIL"] == until


def test_a_model_that_requests_only_wait_for_is_waiting() -> None:
    row = shown(state="unloaded", queued=3, pid=None, engine=None, resident_bytes=0, expires_s=None)
    assert (row["STATE"], row["QUEUED"], row["PID"], row["ENGINE"], row["UNTIL"]) == ("waiting", "3", "-", "-", "-")


def test_ps_says_what_each_row_takes_and_why_there_are_no_batches() -> None:
    cache = {"row_bytes": [2_000_000, 800_000], "kept_bytes": [1_500_000], "reserved_tokens": 900}
    assert list(_engine_lines([IDLE, {**IDLE, **cache}, {**IDLE, "engine_reason": "It has LoRA adapters."}])) == [
        "m:1: KV of rows in use (2 of 8): 2.0 MB, 800 kB; of 1 kept: 1.5 MB; 900 of 4096 tokens reserved",
        "m:1: generator, not batched: It has LoRA adapters.",
    ]


def test_what_nobody_knows_of_the_cache_is_left_out() -> None:
    unknown = {"kv_bytes": None, "row_bytes": None, "kept_bytes": None}
    assert shown(**unknown)["KV"] == "-"
    assert list(_engine_lines([{**IDLE, **unknown}])) == []


def test_failures_are_told_with_the_time_of_the_next_try() -> None:
    def failed(retry_s: float | None) -> dict[str, Any]:
        return {**IDLE, "failure": {"kind": "other", "message": "It broke.", "retry_s": retry_s}}

    assert list(_failure_lines([IDLE, failed(12.0), failed(0.0), failed(None)])) == [
        "m:1: It broke. (retry in 12 s)",
        "m:1: It broke.",
        "m:1: It broke.",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 s"), (0.4, "1 s"), (119, "119 s"), (120, "2 min"), (570, "10 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_times_are_told_in_one_unit(seconds: float, words: str) -> None:
    assert whole_time(seconds) == words


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--keep-alive", "soon"], "is no time"), (["--keep-alive", "5m", "--pin-loaded"], "leave out --keep-alive")],
)
def test_a_load_that_cannot_be_meant_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.setenv("SLMREG_HOME", str(tmp_path))  # no daemon runs there
    result = CliRunner().invoke(main, ["load", "m", *arguments])
    assert (result.exit_code, reason in result.output) == (2, True), result.output
