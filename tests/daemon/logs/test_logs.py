from __future__ import annotations

import errno
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from daemon import request_id
from daemon.log_settings import LogSettings
from daemon.logs.file import LogFile
from daemon.logs.logs import Logs

pytestmark = pytest.mark.usefixtures("levels_as_before")

log = logging.getLogger("slmreg.pool")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "slmreg.jsonl"


def kept(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_line_goes_to_the_console_and_to_the_file(path: Path) -> None:
    console = io.StringIO()
    with Logs(LogSettings(), stream=console, path=path) as logs:
        request_id.begin("r-7")
        log.info("session.ready model=%s", "a:1")
        log.debug("not this")
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("uvicorn.error").info("nor this")
        logging.getLogger("py.warnings").warning("old")
    assert logs.dropped == {"console": 0, "file": 0}
    ready, invalid, old = kept(path)
    assert (ready["message"], ready["model"], ready["request_id"]) == ("session.ready model=a:1", "a:1", "r-7")
    assert (invalid["logger"], old["logger"]) == ("uvicorn.error", "py.warnings")
    assert "INFO    slmreg.pool session.ready model=a:1 request_id=r-7" in console.getvalue()
    log.warning("after the end")
    assert len(kept(path)) == 3


def test_without_log_files_none_is_written(path: Path) -> None:
    with Logs(LogSettings(log_files=0), path=path) as logs:
        log.warning("x")
    assert not path.parent.exists()
    assert logs.dropped == {}


def test_a_full_disk_is_said_once_on_the_console_and_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: LogFile, _lines: Sequence[str]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LogFile, "write", full)
    console = io.StringIO()
    with Logs(LogSettings(), stream=console, path=path) as logs:
        for number in range(50):
            log.warning("x number=%d", number)
        logs._outlets[1].close()
        log.warning("goes on")
    assert console.getvalue().count("logs.not_written") == 1
    assert "No space left on device" in console.getvalue()
    assert "goes on" in console.getvalue()
    assert logs.dropped["file"] >= 50
    assert logs.dropped["console"] == 0


def test_a_folder_that_cannot_be_written_is_no_reason_not_to_start(path: Path) -> None:
    path.parent.write_text("this is a file")
    console = io.StringIO()
    with Logs(LogSettings(), stream=console, path=path):
        log.warning("x")
    assert "logs.not_written" in console.getvalue()


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_console_that_breaks_leaves_the_file_alone(path: Path) -> None:
    with Logs(LogSettings(), stream=Broken(), path=path) as logs:
        log.warning("x")
    assert [line["message"] for line in kept(path)] == ["x"]
    assert logs.dropped["console"] == 1


class Bad:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_argument_that_cannot_be_shown_does_not_reach_who_logs(path: Path) -> None:
    with Logs(LogSettings(), path=path) as logs:
        logs.handle(logging.LogRecord("slmreg", logging.INFO, "f", 1, "x %s", (Bad(),), None))
    (line,) = kept(path)
    assert line["level"] == "error"
    assert "log.bug" in line["message"]


def test_two_thousand_lines_at_once_take_several_files_and_none_is_lost(path: Path) -> None:
    with Logs(LogSettings(log_file_bytes=100_000, log_files=50), path=path) as logs:
        for number in range(2000):
            log.warning("x number=%d", number)
    files = sorted(path.parent.iterdir())
    numbers = sorted(line["number"] for file in files for line in kept(file))
    assert numbers == list(range(2000))
    assert len(files) > 1
    assert all(file.stat().st_size <= 100_000 for file in files)
    assert logs.dropped == {"file": 0}
