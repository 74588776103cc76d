from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selector.hardware.processes import peak_bytes, resident_bytes

TAKEN_BYTES = 64 * 1024 * 1024
# Takes that much, gives it back, and says so.
GREEDY = f"block = b'x' * {TAKEN_BYTES}; del block; print(flush=True); input()"
MODEST = "print(flush=True); input()"


def peak_of(code: str) -> tuple[int, int | None]:
    """Resident now and at most, of a process that runs ``code``."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        found = resident_bytes(process.pid), peak_bytes(process.pid)
        process.communicate(b"\n")
        return found


@pytest.mark.skipif(sys.platform == "darwin", reason="not kept")
def test_the_peak_remembers_what_was_given_back() -> None:
    resident, peak = peak_of(GREEDY)
    assert peak is not None
    assert resident < TAKEN_BYTES < peak


@pytest.mark.skipif(sys.platform == "darwin", reason="not kept")
def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    block = b"x" * TAKEN_BYTES
    mine = peak_bytes(os.getpid())
    assert mine is not None
    assert mine > len(block)
    _resident, peak = peak_of(MODEST)
    assert peak is not None
    assert peak < TAKEN_BYTES


def test_a_process_that_is_gone_has_neither() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert (resident_bytes(process.pid), peak_bytes(process.pid)) == (0, None)


def test_a_status_without_the_line_says_nothing(tmp_path: Path) -> None:
    for pid, text in ((1, "Name:\tx\nVmHWM:\t   12 kB\nVmRSS:\t 3 kB\n"), (2, "Name:\tVmHWM: 9 kB of zombie\n")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(text, encoding="utf-8")
    assert peak_bytes(1, proc=tmp_path) == 12 * 1024
    assert peak_bytes(2, proc=tmp_path) is None
