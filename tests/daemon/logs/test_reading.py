from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from daemon.logs.file import LogFile
from daemon.logs.line import Line, as_json
from daemon.logs.reading import LogReader, Wanted

ALL = Wanted()


def a_line(number: int, **fields: object) -> Line:
    said = {"level": "info", "logger": "slmreg", "message": str(number), "request_id": None, **fields}
    return Line(time_s=float(number), **said)  # type: ignore[arg-type]


def numbers(lines: Iterable[Line]) -> list[int]:
    return [int(line.message) for line in lines]


class Log:
    """Two lines a file, three files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = LogFile(path, max_bytes=2 * len(as_json(a_line(10))) + 2, files=3)

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.file.write([as_json(a_line(number))])


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "slmreg.jsonl")


def test_the_last_lines_are_those_of_all_files(log: Log) -> None:
    log.add(*range(10, 17))
    for most, expected in ((0, []), (1, [16]), (2, [15, 16]), (4, [13, 14, 15, 16]), (100, [12, 13, 14, 15, 16])):
        with LogReader(log.path) as reader:
            assert numbers(reader.last(ALL, most)) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted("warning"), [2, 3]),
        (Wanted("error"), [3]),
        (Wanted(since_s=2.5), [3, 4]),
        (Wanted(request_id="r"), [2, 4]),
        (Wanted("warning", 0.0, "r"), [2]),
    ],
)
def test_only_what_is_wanted_counts(wanted: Wanted, expected: list[int], tmp_path: Path) -> None:
    lines = [
        a_line(1),
        a_line(2, level="warning", request_id="r"),
        a_line(3, level="critical"),
        a_line(4, level="debug", request_id="r"),
    ]
    path = tmp_path / "slmreg.jsonl"
    path.write_text("".join(f"{as_json(line)}\nno line\n" for line in lines))
    with LogReader(path) as reader:
        assert numbers(reader.last(wanted, 100)) == expected


def test_what_follows_comes_once_and_in_order_across_files(log: Log) -> None:
    log.add(10, 11, 12)
    with LogReader(log.path) as reader:
        assert numbers(reader.last(ALL, 2)) == [11, 12]
        assert numbers(reader.take()) == []
        log.add(13)
        assert numbers(reader.take()) == [13]
        log.add(14)
        assert numbers(reader.take()) == [14]
        log.add(*range(15, 19))
        assert numbers(reader.take()) == [15, 16, 17, 18]
        log.add(19, 20, 21)
        assert numbers(reader.take()) == [19, 20, 21]


def test_half_a_line_is_waited_for(log: Log) -> None:
    text = as_json(a_line(10)) + "\n"
    log.path.write_text(text[:20])
    with LogReader(log.path) as reader:
        assert reader.last(ALL, 10) == []
        with log.path.open("a") as file:
            file.write(text[20:])
        assert numbers(reader.take()) == [10]


def test_a_log_that_is_not_there_yet_is_waited_for(log: Log) -> None:
    with LogReader(log.path) as reader:
        assert reader.last(ALL, 10) == []
        assert list(reader.take()) == []
        log.add(10, 11, 12)
        assert numbers(reader.take()) == [10, 11, 12]


def test_a_log_that_is_deleted_begins_anew(log: Log) -> None:
    log.add(10)
    with LogReader(log.path) as reader:
        reader.last(ALL, 10)
        for each in log.path.parent.iterdir():
            each.unlink()
        log.add(11)
        assert numbers(reader.take()) == [11]


def test_more_than_all_files_between_two_looks_loses_what_is_gone_and_nothing_else(log: Log) -> None:
    log.add(10)
    with LogReader(log.path) as reader:
        reader.last(ALL, 10)
        log.add(*range(11, 20))
        assert numbers(reader.take()) == [11, 14, 15, 16, 17, 18, 19]


def test_following_sleeps_between_looks_and_takes_only_what_is_wanted(log: Log) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        log.add(9 + len(slept))

    with LogReader(log.path) as reader:
        following = reader.follow(Wanted(since_s=11.0), sleep=sleep)
        assert numbers(next(following) for _ in range(3)) == [11, 12, 13]
    assert len(slept) == 4


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_an_error(log: Log) -> None:
    log.add(10)
    log.path.chmod(0)
    with pytest.raises(PermissionError):
        LogReader(log.path)
