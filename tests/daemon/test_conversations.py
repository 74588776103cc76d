from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.conversations import Bounds, Conversations


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(path: Path, clock: Clock, **limits: Any) -> Conversations:
    bounds = Bounds(**{"most": 10, "most_bytes": 10_000, "ttl_s": 60.0, **limits})
    return Conversations(path, lambda: bounds, clock=clock)


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


def test_what_cannot_be_written_is_said_and_raises_nothing(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    file = opened(tmp_path / "file" / "kept.db", clock)
    file.keep(*turn("a"), None)
    assert "not_kept id=a" in caplog.text


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
