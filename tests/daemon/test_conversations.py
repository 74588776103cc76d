from __future__ import annotations

import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daemon.conversations import Bounds, Conversations
from daemon.unwritten import Unwritten


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(path: Path, clock: Clock, *, unwritten: Unwritten | None = None, **limits: Any) -> Conversations:
    bounds = Bounds(**{"most": 10, "most_bytes": 10_000, "ttl_s": 60.0, **limits})
    return Conversations(path, lambda: bounds, clock=clock, unwritten=unwritten)


def turn(id: str, text: str = "hi") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return {"id": id, "output": [{"said": text}]}, [{"id": f"item of {id}"}]


def test_a_conversation_is_given_out_from_its_first_turn(tmp_path: Path, clock: Clock) -> None:
    file = opened(tmp_path / "kept.db", clock)
    file.keep(*turn("a"), None)
    file.keep(*turn("b"), "a")
    file.keep(*turn("c"), "b")
    turns = file.up_to("b", most=5)
    assert turns is not None
    assert [kept.answer["id"] for kept in turns] == ["a", "b"]
    assert turns[0].items == [{"id": "item of a"}]
    assert file.up_to("c", most=2) is None
    again = opened(tmp_path / "kept.db", clock)
    assert len(again.up_to("c", most=5) or ()) == 3


def test_what_was_deleted_or_is_too_old_is_gone_and_so_is_what_goes_on_from_it(tmp_path: Path, clock: Clock) -> None:
    file = opened(tmp_path / "kept.db", clock)
    file.keep(*turn("a"), None)
    clock.now_s += 59
    file.keep(*turn("b"), "a")
    assert file.up_to("b", most=5)
    clock.now_s += 1
    assert file.get("a") is None
    assert file.up_to("b", most=5) is None
    assert file.get("b") is not None
    assert file.delete("b")
    assert not file.delete("b")
    assert file.get("b") is None


def test_the_oldest_go_first_by_number_and_by_size(tmp_path: Path, clock: Clock) -> None:
    few = opened(tmp_path / "few.db", clock, most=2)
    small = opened(tmp_path / "small.db", clock, most_bytes=2500)
    for id in ("a", "b", "c"):
        clock.now_s += 1
        few.keep(*turn(id), None)
        small.keep(*turn(id, "x" * 1000), None)
    for file in (few, small):
        assert [id for id in ("a", "b", "c") if file.get(id)] == ["b", "c"]
    nothing = opened(tmp_path / "nothing.db", clock, most=0)
    nothing.keep(*turn("a"), None)
    assert nothing.get("a") is None


def test_no_file_is_made_for_asking_and_only_its_owner_reads_it(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "kept.db"
    file = opened(path, clock)
    assert file.get("a") is None
    assert file.up_to("a", most=5) is None
    assert not file.delete("a")
    assert not path.exists()
    file.keep(*turn("a"), None)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_file_is_moved_aside(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "kept.db"
    path.write_bytes(b"no database" * 100)
    file = opened(path, clock)
    file.keep(*turn("a"), None)
    assert file.get("a") is not None
    assert path.with_name("kept.db.damaged").read_bytes().startswith(b"no database")


def test_what_cannot_be_written_waits_in_memory_until_it_can(tmp_path: Path, clock: Clock) -> None:
    unwritten = Unwritten(now=clock)
    folder = tmp_path / "data"
    folder.write_text("in the way", encoding="utf-8")
    file = opened(folder / "kept.db", clock, unwritten=unwritten)
    file.keep(*turn("a"), None)
    file.keep(*turn("b"), "a")
    assert [kept.answer["id"] for kept in file.up_to("b", most=5) or ()] == ["a", "b"]
    assert [trouble.what for trouble in unwritten.now()] == ["conversations"]
    assert file.delete("a")
    folder.unlink()
    file.write_pending()
    assert unwritten.now() == ()
    again = opened(folder / "kept.db", clock)
    assert (again.get("a"), again.get("b") is not None) == (None, True)


def test_what_waits_is_written_in_the_end(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "data"
    folder.write_text("in the way", encoding="utf-8")
    file = opened(folder / "kept.db", clock)
    file.keep(*turn("a"), None)
    folder.unlink()
    file.close()
    assert opened(folder / "kept.db", clock).get("a") is not None


def test_what_waits_in_memory_is_bounded(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.conversations.MAX_PENDING_BYTES", 250)
    (tmp_path / "data").write_text("in the way", encoding="utf-8")
    file = opened(tmp_path / "data" / "kept.db", clock, most=3)
    for id in "abcd":
        file.keep(*turn(id), None)
    assert [id for id in "abcd" if file.get(id) is not None] == ["b", "c", "d"]
    file.keep(*turn("e", "x" * 150), None)
    assert [id for id in "abcde" if file.get(id) is not None] == ["e"]


def test_a_file_that_somebody_holds_is_not_taken_for_a_damaged_one(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.conversations.BUSY_TIMEOUT_S", 0.05)
    opened(tmp_path / "kept.db", clock).keep(*turn("a"), None)
    with closing(sqlite3.connect(tmp_path / "kept.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        file = opened(tmp_path / "kept.db", clock)
        file.keep(*turn("b"), "a")
    assert len(file.up_to("b", most=5) or ()) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["kept.db"]


def test_a_clock_that_is_set_back_forgets_nothing_new(tmp_path: Path, clock: Clock) -> None:
    file = opened(tmp_path / "kept.db", clock, most=2)
    clock.now_s = 5000.0
    file.keep(*turn("of the future"), None)
    clock.now_s = 1000.0
    file.keep(*turn("a"), None)
    assert file.get("of the future") is not None
    file.keep(*turn("b"), None)
    assert [file.get(id) is not None for id in ("of the future", "a", "b")] == [False, True, True]


def test_bounds_that_become_tighter_hold_for_what_is_kept_already(tmp_path: Path, clock: Clock) -> None:
    bounds = Bounds(10, 10_000, 60.0)
    file = Conversations(tmp_path / "kept.db", lambda: bounds, clock=clock)
    for id in "abc":
        file.keep(*turn(id), None)
        clock.now_s += 10
    bounds = Bounds(10, 10_000, 15.0)
    assert [file.get(id) is not None for id in "abc"] == [False, False, True]
    bounds = Bounds(1, 10_000, 60.0)
    file.keep(*turn("d"), None)
    bounds = Bounds(10, 10_000, 60.0)
    assert [file.get(id) is not None for id in "abcd"] == [False, False, False, True]
    file.close()
