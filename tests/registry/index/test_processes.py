"""Several processes at one registry, and processes that are killed in the middle of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.index.sidecar import sidecar_of
from registry.model import Pin, Status, Task
from registry.store import Registry

# Applies reports in which all models have one license, the number of the round, and lie elsewhere than in the last.
ROUNDS = """
import sys
from pathlib import Path
from registry.model import Model, ScanReport, Source, Task
from registry.store import Registry

def write(path, name, first, last):
    root = Path("/r") / name
    with Registry.open(path) as registry:
        for number in range(first, last):
            models = [
                Model(name=f"{name}-{index}", version="1", alias=name, path=root / str((index + number) % 50),
                      source=Source.FOLDER, tasks=(Task.CHAT,), license=str(number), fingerprint=f"{index}",
                      content=f"{name} {index}")
                for index in range(40)
            ]
            registry.apply(ScanReport(tuple(models), (), (root,), 0.0))
            registry.pin(Task.CHAT if name == "x" else Task.CODE, f"{name}-{number % 40}:1")
            print(number, flush=True)
"""
WRITER = f"{ROUNDS}\nwrite(Path(sys.argv[1]), sys.argv[2], 0, int(sys.argv[3]))"
# Imports once what takes a second, and becomes a writer again and again: one for each line that it is told.
NURSERY = f"""{ROUNDS}
import os
with Registry.open(Path(sys.argv[1])) as registry:
    registry.unpin(Task.CHAT)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        write(Path(sys.argv[1]), "x", int(line), int(line) + 1000)
        os._exit(0)
    print("pid", pid, flush=True)
    os.waitpid(pid, 0)
    print("gone", flush=True)
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def assert_consistent(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


class Nursery:
    def __init__(self, path: Path) -> None:
        self._process = python(NURSERY, path)

    def write_and_be_killed(self, first: int, *, rounds: int, seconds: float) -> None:
        """A writer that gets through some rounds, and is killed a little later, anywhere in another one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{first}\n")
        self._process.stdin.flush()
        lines = self._lines()
        pid, written = 0, 0
        while pid == 0 or written < rounds:
            word, _, rest = next(lines).partition(" ")
            pid, written = (int(rest), written) if word == "pid" else (pid, written + 1)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        assert any(line == "gone" for line in lines)

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def _lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            yield line.strip()
        raise AssertionError(self._process.communicate()[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to kill often enough")
def test_a_killed_writer_leaves_a_whole_report_or_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    chance = random.Random(1)
    last = 0
    nursery = Nursery(path)
    for start in range(0, 20_000, 1000):
        nursery.write_and_be_killed(start, rounds=chance.randrange(1, 4), seconds=chance.random() * 0.01)
        assert_consistent(path)
        with Registry.open(path) as registry:
            assert registry.recovered is None
            models = registry.models(include_missing=False)
            assert len(models) == 40
            (number,) = {int(model.license or "") for model in models}
            assert number >= max(start, last)
            last = number
            (pin,) = registry.pins()
            assert pin in (Pin(Task.CHAT, f"x-{each % 40}:1") for each in (number, number - 1))
            json.loads(sidecar_of(path).read_text(encoding="utf-8"))
    nursery.close()


def test_two_processes_write_at_once_and_none_finds_the_file_locked(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    rounds = 25
    writers = [python(WRITER, path, name, rounds) for name in ("x", "y")]
    with Registry.open(path) as registry:
        while any(writer.poll() is None for writer in writers):
            for name in ("x", "y"):  # readers see whole reports
                licenses = {model.license for model in registry.models() if model.alias == name}
                assert len(licenses) <= 1
            time.sleep(0.01)
        assert [writer.communicate()[1] for writer in writers] == ["", ""]
        assert [writer.returncode for writer in writers] == [0, 0]
        assert len(registry.models()) == 80
        assert {model.status for model in registry.models()} == {Status.READY}
        assert registry.pins() == (Pin(Task.CHAT, "x-24:1"), Pin(Task.CODE, "y-24:1"))
        assert len(json.loads(sidecar_of(path).read_text(encoding="utf-8"))["pins"]) == 2
    assert_consistent(path)
