from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from daemon.service.carry_out import Outcome, carry_out, remove_own_files, run_command
from daemon.service.plan import MakeFolder, Plan, RemoveFile, RunCommand, WriteFile
from registry.errors import ServiceError

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes of files")


class FakeSystem:
    """Remembers what it was told to run; commands with the word "fails" fail."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, arguments: tuple[str, ...]) -> Outcome:
        self.ran.append(arguments)
        return Outcome(1, "no bus") if "fails" in arguments else Outcome(0, "")


def test_steps_are_done_in_order_and_again_only_where_something_is_to_do(tmp_path: Path) -> None:
    unit, old = tmp_path / "units" / "slmreg.service", tmp_path / "old"
    old.touch()
    plan = Plan((MakeFolder(tmp_path / "home"), WriteFile(unit, b"new"), RemoveFile(old), RunCommand(("enable",))))
    told: list[str] = []
    system = FakeSystem()
    carry_out(plan, told.append, run=system)
    assert unit.read_bytes() == b"new"
    assert not old.exists()
    assert [line.split()[0] for line in told] == ["make", "write", "remove", "run"]
    assert [file.name for file in unit.parent.iterdir()] == [unit.name]

    told.clear()
    carry_out(plan, told.append, run=system)
    assert told == ["run enable"]


def test_the_first_failure_ends_it_with_what_was_said_and_where_to_look() -> None:
    system = FakeSystem()
    plan = Plan((RunCommand(("start", "fails"), hint="Look there."), RunCommand(("never",))))
    with pytest.raises(ServiceError, match=r"start fails ended with exit code 1: no bus Look there\."):
        carry_out(plan, lambda _: None, run=system)
    assert system.ran == [("start", "fails")]


def test_what_may_fail_is_no_failure() -> None:
    system = FakeSystem()
    told: list[str] = []
    carry_out(Plan((RunCommand(("fails",), may_fail=True), RunCommand(("next",)))), told.append, run=system)
    assert (len(system.ran), told) == (2, ["run next"])


@posix
def test_folders_are_for_their_owner_and_files_for_the_service_system(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        plan = Plan((MakeFolder(tmp_path / "a" / "b"), WriteFile(tmp_path / "c" / "unit", b"")))
        carry_out(plan, lambda _: None, run=FakeSystem())
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "c" / "unit").stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    step = WriteFile(tmp_path / "file" / "unit", b"")
    with pytest.raises(ServiceError, match=r"Could not write .*unit"):
        carry_out(Plan((step,)), lambda _: None, run=FakeSystem())


def test_real_commands_give_their_exit_code_and_words_and_missing_ones_are_named() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    outcome = run_command((sys.executable, "-c", code))
    assert (outcome.exit_code, sorted(outcome.output.split())) == (3, ["err", "out"])
    with pytest.raises(ServiceError, match="no-such-program"):
        run_command(("no-such-program",))


def test_our_own_files_go_and_models_and_strange_files_stay(tmp_path: Path) -> None:
    home, cache = tmp_path / "home", tmp_path / "home" / "cache"
    (home / "my-model").mkdir(parents=True)
    cache.mkdir()
    for name in ("registry.db", "registry.db-wal", "my-model/genai_config.json", "notes.txt", "cache/hardware.json"):
        (home / name).touch()
    remove_own_files((cache, home, tmp_path / "never-was"), ("registry.db*", "hardware.json"))
    left = sorted(str(file.relative_to(home)) for file in home.rglob("*"))
    assert left == ["my-model", str(Path("my-model/genai_config.json")), "notes.txt"]
