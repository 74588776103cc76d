from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from selector.hardware.cache import HardwareCache
from selector.hardware.queries import remembering, run_query


class Counting:
    """Programs that answer with what they were asked, or fail."""

    def __init__(self, answer: str | None) -> None:
        self.answer = answer
        self.asked: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> str | None:
        self.asked.append(command)
        return self.answer


def test_query_runs_a_program_and_survives_one_that_is_missing_or_fails() -> None:
    assert run_query((sys.executable, "-c", "print('name, 1, 2')")) == "name, 1, 2\n"
    assert run_query((sys.executable, "-c", "raise SystemExit(9)")) is None
    assert run_query(("no-such-program-slmreg",)) is None


def test_slow_programs_are_asked_once_for_each_question(tmp_path: Path) -> None:
    counting = Counting("text")
    for _ in range(2):
        ask = remembering(counting, HardwareCache(tmp_path / "hardware.json"))
        assert ask(("system_profiler", "a")) == "text"
        assert ask(("system_profiler", "b")) == "text"
    assert len(counting.asked) == 2


def test_quick_programs_are_asked_every_time(tmp_path: Path) -> None:
    counting = Counting("text")
    ask = remembering(counting, HardwareCache(tmp_path / "hardware.json"))
    assert [ask(("nvidia-smi",)), ask(("nvidia-smi",))] == ["text", "text"]
    assert len(counting.asked) == 2


def test_failure_is_not_remembered(tmp_path: Path) -> None:
    counting = Counting(None)
    ask = remembering(counting, HardwareCache(tmp_path / "hardware.json"))
    assert ask(("powershell.exe",)) is None
    counting.answer = "text"
    assert ask(("powershell.exe",)) == "text"
