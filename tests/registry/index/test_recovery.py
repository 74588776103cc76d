from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import DatabaseError
from registry.index.recovery import kept_files
from registry.index.sidecar import sidecar_of
from registry.model import (
    ApiKey,
    Fallback,
    Hint,
    KeyScope,
    Pin,
    Preset,
    Problem,
    RootChoice,
    Status,
    Task,
    Verification,
)
from registry.store import Registry
from tests.registry.samples import MEASURED, SAID, report, variant

MANY = tuple(variant(f"model-{index:03d}", fingerprint=f"f{index}") for index in range(100))
PINNED, JUDGED = MANY[7], MANY[5]
SAID_OF_ONE = replace(SAID, model_id=JUDGED.id, content=JUDGED.content)
NOT_HERE = Pin(Task.CODE, "not here yet", is_waiting=True, fallback=Fallback.AUTO)
KEYS = (ApiKey("laptop", KeyScope.ADMIN, "ab" * 32, 5.0), ApiKey("editor", KeyScope.USE, "cd" * 32, 6.0))
PRESET = Preset(
    name="mario",
    base="model-001",
    system="You are \ud800 Mario.",
    parameters={"temperature": 0.5, "stop": ["a"]},
    messages=({"role": "user", "content": "ü"},),
    modified_s=5.5,
)
CHECK = Verification(
    MANY[3].fingerprint,
    123.0,
    {"model.onnx": "ab" * 32},
    (Problem("content_damaged", "Copy it again.", "model.onnx"),),
)


def fill(registry: Registry, root: Path) -> None:
    """Something of everything that no scan can find again."""
    registry.apply(report(*MANY[:90]))
    registry.apply(report(*MANY[:7], replace(PINNED, content="other"), *MANY[8:]))
    registry.pin(Task.CHAT, PINNED.id)
    registry.pin_later(Task.CODE, "not here yet", fallback=Fallback.AUTO)
    registry.pin_pattern(Task.TOOLS, "model-00[12]*")
    registry.add_evaluation(SAID_OF_ONE)
    registry.set_preset(PRESET)
    registry.record_measurements([replace(MEASURED, model_id=JUDGED.id, content=JUDGED.content)])
    registry.record_verification(MANY[3].id, CHECK)
    registry.add_root(root, settle_s=2.5)
    registry.switch_root(root / "found", is_enabled=False)
    registry.set_hints([Hint("b", "chat", 8, "ü", {"more": [1, None]}), Hint("a")])
    registry.allow_library("cd" * 32, model_id=PINNED.id)
    for key in KEYS:
        registry.add_key(key)


def assert_restored(registry: Registry, root: Path) -> None:
    by_id, later, following = registry.pins()
    assert (by_id, later) == (Pin(Task.CHAT, PINNED.id), NOT_HERE)
    assert (following.pattern, following.fallback) == ("model-00[12]*", Fallback.ERROR)
    assert registry.evaluations() == (SAID_OF_ONE,)
    assert registry.presets() == (PRESET,)
    assert registry.verification(MANY[3].id) == CHECK
    choices = (RootChoice(root, settle_s=2.5), RootChoice(root / "found", is_added=False, is_enabled=False))
    assert registry.root_choices() == choices
    assert registry.hints() == (Hint("b", "chat", 8, "ü", {"more": [1, None]}), Hint("a"))
    assert registry.allowed_libraries() == {"cd" * 32}
    assert registry.api_keys() == KEYS


def assert_found_again(registry: Registry, root: Path) -> None:
    """After a scan everything is as it was."""
    registry.apply(report(*MANY[:7], replace(PINNED, content="other"), *MANY[8:]))
    assert len(registry.models()) == len(MANY)
    pinned, checked = registry.get(PINNED.id), registry.get(MANY[3].id)
    assert (pinned.status, pinned.revision) == (Status.READY, 2)
    assert (checked.status, checked.problems) == (Status.INVALID, CHECK.problems)
    assert registry.pins()[2].model_id in ("model-001:1", "model-002:1")
    assert_restored(registry, root)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A registry file that nobody has open."""
    path = tmp_path / "state" / "registry.db"
    with Registry.open(path) as registry:
        fill(registry, tmp_path)
    return path


def cut(keep: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, keep(path.stat().st_size))


def overwrite(path: Path, start: int, end: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[start:end] = b"\xff" * len(content[start:end])
    path.write_bytes(content)


def replace_content(path: Path, content: bytes) -> None:
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "the header is garbage": lambda path: overwrite(path, 0, 100),
    "another kind of file": lambda path: replace_content(path, b"not a database at all" * 100),
    "empty": cut(lambda size: 0),
    "gone": Path.unlink,
    "cut in the header": cut(lambda size: 60),
    "cut after the first page": cut(lambda size: 4096),
    "cut in the middle": cut(lambda size: size // 2),
    "cut before the last page": cut(lambda size: size - 4096),
    "cut in the last page": cut(lambda size: size - 10),
    "every page but the first is garbage": lambda path: overwrite(path, 4096),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_put_aside_and_the_rest_restored(
    damage: Callable[[Path], None], filled: Path, tmp_path: Path
) -> None:
    damage(filled)
    content = filled.read_bytes() if filled.exists() else b""
    with Registry.open(filled) as registry:
        recovered = registry.recovered
        assert recovered is not None
        assert (recovered.pins, recovered.roots, recovered.hints) == (3, 2, 2)
        assert (recovered.allowed_libraries, recovered.verifications, recovered.evaluations) == (1, 1, 1)
        assert recovered.api_keys == 2
        assert registry.measurements() == ()  # which are measured again
        assert_restored(registry, tmp_path)
        assert registry.get(PINNED.id).status is Status.MISSING
        assert_found_again(registry, tmp_path)
    kept = kept_files(filled)
    assert [each.read_bytes() for each in kept] == ([content] if content else [])
    assert recovered.kept == (kept[0] if kept else None)
    with Registry.open(filled) as again:
        assert again.recovered is None
        assert_found_again(again, tmp_path)


def test_one_changed_page_is_found_after_a_crash(filled: Path, tmp_path: Path) -> None:
    """In an index that nobody reads: SQLite's own check finds it, which is made where a log was left over."""
    crashed = tmp_path / "crashed" / "registry.db"
    crashed.parent.mkdir()
    with Registry.open(filled) as registry:
        registry.unpin(Task.CODE)
        for file in filled.parent.iterdir():
            shutil.copy(file, crashed.parent)
    assert (crashed.parent / "registry.db-wal").stat().st_size
    page = _index_page(filled)
    overwrite(crashed, (page - 1) * 4096 + 8, page * 4096)
    with Registry.open(crashed) as registry:
        assert registry.recovered is not None
        assert [pin.task for pin in registry.pins()] == [Task.CHAT, Task.TOOLS]
    assert [each.name for each in kept_files(crashed)] == [registry.recovered.kept.name]  # type: ignore[union-attr]


def test_damage_that_only_a_write_finds_is_mended_too(filled: Path, tmp_path: Path) -> None:
    page = _index_page(filled)
    overwrite(filled, (page - 1) * 4096 + 8, page * 4096)
    with Registry.open(filled) as registry:
        assert registry.recovered is None  # an index: reading everything does not need it
        registry.apply(report())
        assert registry.recovered is not None
        assert_found_again(registry, tmp_path)


def test_damage_in_a_file_that_is_in_use_is_mended(filled: Path, tmp_path: Path) -> None:
    with Registry.open(filled) as registry:
        assert len(registry.models()) == len(MANY)
        for other in (filled, filled.with_name("registry.db-wal"), filled.with_name("registry.db-shm")):
            other.unlink(missing_ok=True)
        filled.write_bytes(b"garbage" * 2000)
        assert_restored(registry, tmp_path)
        assert registry.recovered is not None
        assert_found_again(registry, tmp_path)


def _index_page(path: Path) -> int:
    """The number of the page with the unique index of model ids."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'models'"
        ).fetchone()
    return int(page)


def test_a_process_that_has_the_old_file_open_goes_over_to_the_new_one(filled: Path, tmp_path: Path) -> None:
    with Registry.open(filled) as running:
        assert len(running.models()) == len(MANY)
        overwrite(filled, 0, 100)
        with Registry.open(filled) as mending:
            assert mending.recovered is not None
            mending.pin_later(Task.MATH, "wanted")
            assert Pin(Task.MATH, "wanted", is_waiting=True) in running.pins()
            running.unpin(Task.MATH)
            assert_restored(mending, tmp_path)


def test_many_that_find_the_damage_at_once_mend_it_once(filled: Path, tmp_path: Path) -> None:
    overwrite(filled, 0, 100)
    barrier = threading.Barrier(6)
    recovered, errors = [], []

    def work() -> None:
        try:
            barrier.wait(20)
            with Registry.open(filled) as registry:
                recovered.append(registry.recovered)
                assert_restored(registry, tmp_path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len([each for each in recovered if each is not None]) == 1
    assert len(kept_files(filled)) == 1


NO_SIDECARS = (b"", b"{", b"[]", b'{"format": 99}', b"[" * 100_000, b"\xff", None)


@pytest.mark.parametrize("sidecar", NO_SIDECARS, ids=lambda text: str(text)[:20])
def test_without_a_usable_sidecar_the_new_registry_is_empty(sidecar: bytes | None, filled: Path) -> None:
    sidecar_of(filled).unlink()
    if sidecar is not None:
        sidecar_of(filled).write_bytes(sidecar)
    overwrite(filled, 0, 100)
    with Registry.open(filled) as registry:
        assert registry.recovered is not None
        assert (registry.models(), registry.pins(), registry.root_choices()) == ((), (), ())
        registry.apply(report(*MANY))
        assert len(registry.models()) == len(MANY)
    kept = list(filled.parent.glob("registry.json.damaged-*"))
    assert [each.read_bytes() for each in kept] == ([] if sidecar is None else [sidecar])


def test_a_sidecar_that_contradicts_itself_keeps_nobody_from_a_registry(filled: Path) -> None:
    document = json.loads(sidecar_of(filled).read_text(encoding="utf-8"))
    document["pins"] *= 2
    document["models"][0]["version"] = document["models"][0]["name"] = 7
    sidecar_of(filled).write_text(json.dumps(document), encoding="utf-8")
    overwrite(filled, 0, 100)
    with Registry.open(filled) as registry:
        assert registry.recovered is not None
        registry.apply(report(*MANY))
        assert len(registry.models()) == len(MANY)


def test_what_cannot_be_understood_in_a_sidecar_is_left_out(filled: Path) -> None:
    text = sidecar_of(filled).read_text(encoding="utf-8")
    assert text.count('"task":"chat","model_key":8') == 1
    sidecar_of(filled).write_text(text.replace('"task":"chat","model_key":8', '"task":"juggling","model_key":8'))
    overwrite(filled, 0, 100)
    with Registry.open(filled) as registry:
        assert registry.pins()[0] == NOT_HERE
        assert len(registry.pins()) == 2
        assert len(registry.hints()) == 2


def test_a_new_registry_is_no_recovery(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with Registry.open(path) as registry:
        registry.apply(report(*MANY))
        assert registry.recovered is None
    path.unlink()
    with Registry.open(path) as registry:
        assert registry.recovered is None  # nothing was lost but what a scan finds again


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root may write anywhere")
def test_a_damaged_file_in_a_folder_that_cannot_be_written_is_told(filled: Path) -> None:
    overwrite(filled, 0, 100)
    filled.parent.chmod(0o500)
    try:
        with pytest.raises(DatabaseError, match="damaged"):
            Registry.open(filled)
    finally:
        filled.parent.chmod(0o700)


# -- the sidecar


def test_the_sidecar_is_private(filled: Path) -> None:
    if os.name == "nt":
        pytest.skip("POSIX permissions")
    assert stat.S_IMODE(sidecar_of(filled).stat().st_mode) == 0o600


def test_the_sidecar_follows_what_happens_to_a_pinned_model(filled: Path) -> None:
    with Registry.open(filled) as registry:
        moved = replace(PINNED, path=Path("/r/moved"), content="other")
        registry.apply(report(*MANY[:7], moved, *MANY[8:]))
    assert "/r/moved" in sidecar_of(filled).read_text(encoding="utf-8")


def test_a_scan_that_says_nothing_new_about_pins_leaves_the_sidecar_alone(filled: Path) -> None:
    with Registry.open(filled) as registry:
        registry.unpin(Task.CODE)
        before = sidecar_of(filled).stat().st_mtime_ns
        registry.apply(report(*MANY[:7], replace(PINNED, content="other"), *MANY[8:50]))
        assert sidecar_of(filled).stat().st_mtime_ns == before


def test_a_sidecar_that_was_lost_is_written_with_the_next_change(filled: Path) -> None:
    sidecar_of(filled).unlink()
    with Registry.open(filled) as registry:
        registry.apply(report(*MANY[:50]))
    assert sidecar_of(filled).exists()


def test_a_sidecar_that_cannot_be_written_keeps_nobody_from_anything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "registry.db"
    sidecar_of(path).mkdir()
    (sidecar_of(path) / "in the way").touch()
    with Registry.open(path) as registry:
        registry.pin_later(Task.CHAT, "phi")
        assert registry.pins() == (Pin(Task.CHAT, "phi", is_waiting=True),)
    assert "registry.sidecar_not_written" in caplog.text
