from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from daemon.doctor.files import (
    clock_findings,
    disk_finding,
    disk_findings,
    permission_findings,
    writable_findings,
)
from daemon.doctor.finding import Level

Usage = namedtuple("Usage", "total used free")


def test_the_disk_is_asked_also_before_the_home_is_there(tmp_path: Path) -> None:
    finding = disk_finding("the registry", tmp_path / "not" / "yet")
    assert finding.subject == "disk"
    assert "free" in finding.message


def test_folders_on_one_disk_are_told_once(tmp_path: Path) -> None:
    (finding,) = disk_findings({"the registry": tmp_path / "a", "the cache": tmp_path / "b"})
    assert "the registry" in finding.message


@pytest.mark.parametrize(
    ("free", "level"), [(5_000_000_000, Level.OK), (500_000_000, Level.NOTE), (5_000_000, Level.PROBLEM)]
)
def test_little_room_is_told_before_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(10**12, 0, free))
    assert disk_finding("the cache", tmp_path).level is level


@pytest.mark.skipif(os.name == "nt", reason="other permissions there")
def test_files_that_others_can_read_are_named(tmp_path: Path) -> None:
    private, open_file = tmp_path / "registry.db", tmp_path / "daemon.json"
    private.touch(0o600)
    open_file.touch()
    open_file.chmod(0o644)
    (finding,) = permission_findings([private, open_file, tmp_path / "nothing"])
    assert (finding.level, finding.items) == (Level.PROBLEM, (str(open_file),))
    assert finding.advice == f"chmod go= {open_file}"
    open_file.chmod(0o600)
    assert list(permission_findings([private, open_file])) == []


def test_a_home_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(writable_findings([tmp_path / "not" / "yet"])) == []
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    (finding,) = writable_findings([tmp_path / "home", tmp_path / "home"])
    assert (finding.level, "SLMREG_HOME" in (finding.advice or "")) == (Level.PROBLEM, True)


def test_a_clock_that_was_set_back_is_seen_by_files_of_the_future(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("now", "soon", "later")]
    for file, ahead_s in zip(files, (0, 60, 86_400), strict=True):
        file.touch()
        os.utime(file, (1_700_000_000 + ahead_s,) * 2)
    (finding,) = clock_findings([*files, tmp_path / "nothing"], now_s=1_700_000_000)
    assert (finding.level, finding.items) == (Level.NOTE, (str(files[2]),))
    assert "2023-11-15" in finding.message
    assert list(clock_findings(files, now_s=1_700_100_000)) == []
