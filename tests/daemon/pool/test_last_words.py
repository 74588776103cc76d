from __future__ import annotations

import logging

import pytest

from daemon.pool.last_words import LINES_KEPT, MAX_LINE_BYTES, MAX_LINES_PER_S, LastWords
from tests.fakes import FakeClock


@pytest.fixture
def words() -> LastWords:
    words = LastWords(7, clock=FakeClock())
    words.model_id = "a:1"
    return words


@pytest.fixture(autouse=True)
def _all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "slmreg.worker")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(
    ("said", "level", "line"),
    [
        ("WARNING slmreg.worker: images will be refused", "WARNING", "images will be refused"),
        (
            "2026-11-27 10:00:00 [E:onnxruntime:, x.cc:1 Run] bad",
            "ERROR",
            "2026-11-27 10:00:00 [E:onnxruntime:, x.cc:1 Run] bad",
        ),
        (
            "\x1b[0;93m2026 [W:onnxruntime:log, x.cc:1 y] z\x1b[m",
            "WARNING",
            "\x1b[0;93m2026 [W:onnxruntime:log, x.cc:1 y] z\x1b[m",
        ),
        ("Traceback (most recent call last):", "INFO", "Traceback (most recent call last):"),
    ],
)
def test_a_line_is_tagged_and_as_severe_as_it_says(
    said: str, level: str, line: str, words: LastWords, caplog: pytest.LogCaptureFixture
) -> None:
    words.feed(said.encode() + b"\n")
    assert logged(caplog) == [(level, f"worker.stderr model=a:1 pid=7 line={line!r}")]


def test_a_line_in_pieces_is_one_and_the_last_needs_no_end(words: LastWords, caplog: pytest.LogCaptureFixture) -> None:
    for piece in (b"o", b"ne\ntw", b"o\n\nthr", b"ee \xff"):
        words.feed(piece)
    assert list(words.lines) == ["one", "two"]
    words.end()
    assert list(words.lines) == ["one", "two", "three \ufffd"]
    assert len(logged(caplog)) == 3


def test_a_line_without_an_end_is_not_kept_for_ever(words: LastWords) -> None:
    words.feed(b"x" * (10 * MAX_LINE_BYTES))
    assert [len(line) for line in words.lines] == [MAX_LINE_BYTES]


def test_a_flood_is_counted_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    words = LastWords(7, clock=clock)
    words.feed(b"".join(b"%d\n" % number for number in range(MAX_LINES_PER_S + 50)))
    assert len(logged(caplog)) == MAX_LINES_PER_S
    assert words.lines[-1] == str(MAX_LINES_PER_S + 49)
    assert len(words.lines) == LINES_KEPT
    clock.now_s = 1.0
    words.feed(b"later\n")
    assert [message for _level, message in logged(caplog)[MAX_LINES_PER_S:]] == [
        "worker.stderr_dropped model=- pid=7 lines=50",
        "worker.stderr model=- pid=7 line='later'",
    ]


def test_what_was_not_told_is_told_at_the_end(words: LastWords, caplog: pytest.LogCaptureFixture) -> None:
    words.feed(b"x\n" * (MAX_LINES_PER_S + 1))
    words.end()
    assert logged(caplog)[-1][1] == "worker.stderr_dropped model=a:1 pid=7 lines=1"
