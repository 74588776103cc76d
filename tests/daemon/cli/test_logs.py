from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.cli.logs import moment
from daemon.logs.line import Line, as_json
from daemon.logs.reading import LogReader, Wanted


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a home whose daemon does not run: two files, an error among them."""
    monkeypatch.setenv("SLMREG_HOME", str(tmp_path))
    path = tmp_path / "logs" / "slmreg.jsonl"
    path.parent.mkdir()
    now_s = time.time()
    lines = [
        Line(time_s=now_s - 7200, level="error", logger="slmreg.pool", message="old", trace="Traceback\nend"),
        Line(time_s=now_s, level="info", logger="slmreg", message="new", request_id="r", fields={"model": "a"}),
    ]
    for file, line in zip((path.with_name("slmreg.jsonl.1"), path), lines, strict=True):
        file.write_text(as_json(line) + "\n")
    return path


def logs(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["logs", *arguments])


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), ["old", "new"]),
        (("-n", "1"), ["new"]),
        (("--level", "warning"), ["old"]),
        (("--since", "1h"), ["new"]),
        (("--request", "r"), ["new"]),
    ],
)
def test_the_log_is_read_while_no_daemon_runs(arguments: tuple[str, ...], said: list[str]) -> None:
    told = logs(*arguments, "--json")
    assert told.exit_code == 0, told.output
    assert [json.loads(line)["message"] for line in told.stdout.splitlines()] == said


@pytest.mark.usefixtures("log")
def test_people_read_lines_and_stacks_without_colour_in_a_pipe() -> None:
    told = logs("-n", "2").stdout
    assert "ERROR   slmreg.pool old\n    Traceback\n    end\n" in told
    assert told.endswith("INFO    slmreg new request_id=r\n")


def test_a_log_without_such_a_line_says_so(log: Path) -> None:
    told = logs("--request", "nobody")
    assert (told.exit_code, told.stdout) == (0, "")
    assert str(log) in told.stderr


@pytest.mark.usefixtures("log")
def test_following_ends_without_a_word_where_nothing_was_shown_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_self: LogReader, _wanted: Wanted) -> Iterator[Line]:
        yield Line(time_s=0.0, level="info", logger="slmreg", message="comes")
        raise KeyboardInterrupt

    monkeypatch.setattr(LogReader, "follow", interrupted)
    told = logs("-f", "-n", "0")
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.endswith("slmreg comes\n")


@pytest.mark.usefixtures("log")
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_ends_following() -> None:
    command = [sys.executable, "-m", "daemon.cli", "logs", "-f", "-n", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "new" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "")


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    "wrong",
    [
        ("--since", "yesterday"),
        ("--since", "5y"),
        ("-n", "-1"),
        ("--level", "loud"),
        ("--set-level", "slmreg.pool"),
        ("--set-level", "x=loud"),
    ],
)
def test_wrong_usage_is_an_error_of_its_own(wrong: tuple[str, str]) -> None:
    assert logs(*wrong).exit_code == 2


@pytest.mark.usefixtures("log")
def test_levels_are_those_of_a_daemon_that_runs() -> None:
    told = logs("--set-level", "slmreg.pool=debug")
    assert (told.exit_code, "slmreg serve" in told.stderr) == (1, True)


@pytest.mark.parametrize(("said", "ago_s"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800)])
def test_a_time_can_be_said_as_how_long_ago_it_was(said: str, ago_s: float) -> None:
    assert moment(said) == pytest.approx(time.time() - ago_s, abs=60)


def test_a_time_can_be_said_in_iso_8601() -> None:
    assert moment("1970-01-01T01:00:00+01:00") == 0.0
    assert moment("1970-01-01T00:00:10Z") == 10.0
    with pytest.raises(click.BadParameter):
        moment("10")
