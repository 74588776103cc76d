from __future__ import annotations

import json
from pathlib import Path

import pytest

from selector.hardware.cache import MAX_AGE_S, HardwareCache, machine_key


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_what_is_kept_is_found_again_also_by_another_process(tmp_path: Path) -> None:
    file = tmp_path / "new" / "hardware.json"
    HardwareCache(file).keep("a", {"x": [1]})
    HardwareCache(file).keep("b", "text")
    assert HardwareCache(file).find("a") == {"x": [1]}
    assert HardwareCache(file).find("b") == "text"
    assert HardwareCache(file).find("c") is None
    assert [entry.name for entry in file.parent.iterdir()] == ["hardware.json"]


def test_another_machine_finds_nothing_and_starts_anew(tmp_path: Path) -> None:
    file = tmp_path / "hardware.json"
    HardwareCache(file, machine="one").keep("a", 1)
    other = HardwareCache(file, machine="two")
    assert other.find("a") is None
    other.keep("b", 2)
    assert HardwareCache(file, machine="one").find("a") is None


def test_answers_grow_old_and_a_clock_set_back_makes_them_void(tmp_path: Path) -> None:
    clock = Clock()
    cache = HardwareCache(tmp_path / "hardware.json", clock=clock)
    cache.keep("a", 1)
    clock.now_s += MAX_AGE_S
    assert cache.find("a") == 1
    clock.now_s += 1
    assert cache.find("a") is None
    assert cache.find("a", max_age_s=2 * MAX_AGE_S) == 1
    clock.now_s = 0
    assert cache.find("a") is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"machine": 1}', '{"machine": "M", "entries": []}', "\x00\xff"]
    + [json.dumps({"machine": "M", "entries": {"a": entry}}) for entry in (None, 3, {}, {"at": "x"}, {"value": 1})],
)
def test_damaged_file_holds_nothing_and_is_replaced(tmp_path: Path, content: str) -> None:
    file = tmp_path / "hardware.json"
    file.write_text(content, encoding="latin-1")
    cache = HardwareCache(file, machine="M")
    assert cache.find("a") is None
    cache.keep("a", 1)
    assert cache.find("a") == 1


def test_file_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    cache = HardwareCache(blocked / "hardware.json")
    cache.keep("a", 1)
    assert cache.find("a") is None
    assert cache.stamp() is None


def test_no_file_keeps_nothing() -> None:
    cache = HardwareCache(None)
    cache.keep("a", 1)
    assert (cache.find("a"), cache.stamp()) == (None, None)


def test_stamp_tells_of_every_change(tmp_path: Path) -> None:
    cache = HardwareCache(tmp_path / "hardware.json")
    stamps = [cache.stamp()]
    for number in range(3):
        cache.keep("a", number)
        stamps.append(cache.stamp())
    assert stamps[0] is None
    assert len(set(stamps)) == 4


def test_key_of_this_machine_is_the_same_every_time() -> None:
    assert machine_key() == machine_key() != ""
