from __future__ import annotations

import errno
import io
import sys

import pytest

from daemon.cli.output import billions, gigabytes, print_table, say


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1_300_000, "1.3 MB"),
        (4.2e9, "4.2 GB"),
        (2e12, "2000.0 GB"),
        (None, "-"),
    ],
)
def test_sizes_read_as_people_write_them(size: float | None, text: str) -> None:
    assert gigabytes(size) == text


@pytest.mark.parametrize(("count", "text"), [(None, "-"), (1_770_000, "1.8M"), (3_800_000_000, "3.8B")])
def test_parameters_read_as_people_write_them(count: int | None, text: str) -> None:
    assert billions(count) == text


def test_a_table_in_a_pipe_is_not_cut_and_not_interpreted(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    print_table(("NAME", "N"), [(long, "1"), ("[bold]a[/bold]", "20")], right=("N",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{long}   1"
    assert lines[2].startswith("[bold]a[/bold]")
    assert not any(line.endswith(" ") for line in lines)


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_cannot_be_said_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    say("slmreg runs")
