from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.errors import DatabaseError, InvalidRoot, ModelNotFound
from registry.model import (
    Device,
    FolderProblem,
    Hint,
    Pin,
    Problem,
    Root,
    RootChoice,
    ScanReport,
    Source,
    Status,
    Task,
    Verification,
)
from registry.scan import scan
from registry.store import Registry
from tests.registry.samples import RICH, report, variant


def test_what_goes_in_comes_out(registry: Registry) -> None:
    problem = FolderProblem(Path("/r/bad"), "graph_missing", "Copy it.", "model.onnx", Status.INVALID)
    registry.apply(report(RICH, problems=(problem,)))
    assert registry.models() == (RICH,)
    assert registry.problems() == (problem,)


def test_it_is_all_there_in_a_new_process(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "r.db") as first:
        first.apply(report(RICH))
        first.pin(Task.CHAT, RICH.id)
    with Registry.open(tmp_path / "r.db") as second:
        assert second.models() == (RICH,)
        assert second.pins() == (Pin(Task.CHAT, RICH.id),)


def test_missing_models_are_left_out_on_demand(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.apply(report())
    assert registry.models(include_missing=False) == ()
    assert [model.status for model in registry.models()] == [Status.MISSING]
    assert registry.known() == {}


# -- by reference


@pytest.mark.parametrize("reference", ["Phi-4-generic-cpu:5", "phi-4-GENERIC-cpu", "PHI-4", " phi-4 "])
def test_a_model_answers_to_id_name_and_alias_in_any_case(reference: str, registry: Registry) -> None:
    registry.apply(report(RICH))
    assert registry.get(reference) == RICH


def test_a_name_means_its_newest_version(registry: Registry) -> None:
    registry.apply(report(variant("phi", "9"), variant("phi", "10")))
    assert registry.get("phi").version == "10"
    assert [model.version for model in registry.candidates("phi")] == ["10", "9"]
    assert [model.version for model in registry.models()] == ["9", "10"]


def test_an_alias_means_the_ready_variant_for_the_cpu(registry: Registry) -> None:
    cuda, cpu = variant("phi-4-cuda-gpu", "9", device=Device.GPU), variant("phi-4-generic-cpu", "1")
    registry.apply(report(cuda, cpu))
    assert registry.candidates("phi-4") == (cpu, cuda)
    registry.apply(report(cuda))
    assert registry.get("phi-4") == cuda


def test_an_unknown_name_gives_near_ones(registry: Registry) -> None:
    registry.apply(report(variant("qwen2.5-coder", alias="qwen2.5-coder"), variant("phi-4-mini", alias="phi-4-mini")))
    with pytest.raises(ModelNotFound) as caught:
        registry.get("phi4-mini")
    assert caught.value.suggestions == ("phi-4-mini",)
    assert registry.find("phi4-mini") is None
    with pytest.raises(ModelNotFound):
        registry.get("")


# -- real folders


def test_scan_apply_and_known_work_together(registry: Registry, root: Root, place_model: Any) -> None:
    place_model(root.path / "a", name="phi:1")
    place_model(root.path / "b", name="phi:1", config={"search": {"max_length": 77}})
    first = registry.apply(scan([root], known=registry.known()))
    assert len(first.added) == 2
    again = registry.apply(scan([root], known=registry.known()))
    assert again.is_empty
    assert again.unchanged == 2
    shutil.rmtree(root.path / "a")
    changes = registry.apply(scan([root], known=registry.known(), under=root.path / "a"))
    assert registry.get("phi:1").path == root.path / "b"
    assert not changes.is_empty


def test_a_moved_folder_keeps_its_pin(registry: Registry, root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "a" / "phi", name="phi:1")
    registry.apply(scan([root]))
    registry.pin(Task.CHAT, "phi:1")
    shutil.move(folder, root.path / "z-phi")
    registry.apply(scan([root], known=registry.known(), under=root.path / "z-phi"))
    registry.apply(scan([root], known=registry.known(), under=folder))
    assert registry.pins() == (Pin(Task.CHAT, "phi:1"),)
    assert [model.path for model in registry.models()] == [root.path / "z-phi"]


def test_ids_can_be_swapped_between_rows(registry: Registry) -> None:
    a, b = variant("phi"), replace(variant("phi"), path=Path("/r/z"), fingerprint="g", content="g")
    registry.apply(report(a, b))
    assert registry.get("phi:1").path == a.path
    registry.apply(report(b))
    assert registry.get("phi:1").path == b.path
    registry.apply(report(a, b))
    assert registry.get("phi:1").path == b.path


# -- pins


def test_a_pin_is_replaced_and_undone(registry: Registry) -> None:
    registry.apply(report(variant("a"), variant("b")))
    registry.pin(Task.CHAT, "a:1")
    assert registry.pin(Task.CHAT, "B:1") == Pin(Task.CHAT, "b:1")
    assert registry.pins() == (Pin(Task.CHAT, "b:1"),)
    registry.unpin(Task.CHAT)
    registry.unpin(Task.CHAT)
    assert registry.pins() == ()


def test_a_pin_needs_a_model(registry: Registry) -> None:
    with pytest.raises(ModelNotFound):
        registry.pin(Task.CHAT, "nothing:1")


def test_a_pin_outlives_its_model(registry: Registry) -> None:
    registry.apply(report(RICH))
    registry.pin(Task.CHAT, RICH.id)
    registry.apply(report())
    assert registry.pins() == (Pin(Task.CHAT, RICH.id),)


def test_a_pin_can_wait_for_a_model(registry: Registry) -> None:
    assert registry.pin_later(Task.CHAT, " PHI-4 ") == Pin(Task.CHAT, "PHI-4", is_waiting=True)
    assert registry.pins() == (Pin(Task.CHAT, "PHI-4", is_waiting=True),)
    other = variant("other", alias="other")
    registry.apply(report(other))
    assert registry.pins()[0].is_waiting
    registry.apply(report(other, variant("phi-4-a", "1"), variant("phi-4-b", "2")))
    assert registry.pins() == (Pin(Task.CHAT, "phi-4-b:2"),)
    registry.apply(report(variant("phi-4-c", "3")))
    assert registry.pins() == (Pin(Task.CHAT, "phi-4-b:2"),)  # once given, it stays


def test_a_waiting_pin_takes_only_what_can_do_the_task(registry: Registry) -> None:
    registry.pin_later(Task.VISION, "phi-4")
    blocked = variant("phi-4-a", status=Status.BLOCKED, tasks=(Task.VISION,))
    registry.apply(report(variant("phi-4-b"), blocked))
    assert registry.pins() == (Pin(Task.VISION, "phi-4", is_waiting=True),)
    registry.apply(report(variant("phi-4-b"), replace(blocked, status=Status.READY)))
    assert registry.pins() == (Pin(Task.VISION, "phi-4-a:1"),)


def test_a_pin_for_later_is_made_now_if_the_model_is_here(registry: Registry) -> None:
    registry.apply(report(RICH))
    assert registry.pin_later(Task.CHAT, "phi-4") == Pin(Task.CHAT, RICH.id)


def test_a_waiting_pin_is_replaced_and_undone_like_any_other(registry: Registry, tmp_path: Path) -> None:
    registry.apply(report(RICH))
    registry.pin_later(Task.CHAT, "nobody")
    registry.pin(Task.CHAT, RICH.id)
    assert registry.pins() == (Pin(Task.CHAT, RICH.id),)
    registry.pin_later(Task.CHAT, "nobody")
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        assert other.pins() == (Pin(Task.CHAT, "nobody", is_waiting=True),)
        other.unpin(Task.CHAT)
    assert registry.pins() == ()


# -- several folders of one model


def test_copies_are_one_model_and_each_folder_is_known(registry: Registry, root: Root, place_model: Any) -> None:
    place_model(root.path / "a", name="phi:1")
    shutil.copytree(root.path / "a", root.path / "b")
    registry.apply(scan([root]))
    (model,) = registry.models()
    assert (model.path, model.locations) == (root.path / "a", (root.path / "b",))
    assert registry.known().keys() == {root.path / "a", root.path / "b"}
    assert scan([root], known=registry.known()).unchanged == registry.known().keys()
    registry.pin(Task.CHAT, "phi:1")
    shutil.rmtree(root.path / "a")
    changes = registry.apply(scan([root], known=registry.known()))
    assert (changes.updated, changes.missing) == (("phi:1",), ())
    assert registry.get("phi:1").path == root.path / "b"


def test_locations_are_there_in_a_new_process(tmp_path: Path) -> None:
    copy = replace(RICH, path=Path("/r/z"), source=Source.FOLDER, license="none", fingerprint="z")
    with Registry.open(tmp_path / "r.db") as first:
        first.apply(report(RICH, copy))
    with Registry.open(tmp_path / "r.db") as second:
        assert second.get(RICH.id).locations == (copy.path,)
        assert second.known() == {RICH.path: RICH, copy.path: copy}
        second.apply(report(copy))
        assert second.models() == (copy,)


def test_a_known_model_is_told_as_its_folder_declares_it(registry: Registry) -> None:
    twin = replace(RICH, path=Path("/r/z"), fingerprint="z", content="z")
    registry.apply(report(RICH, twin))
    damage = (Problem("content_damaged", "Copy it again."),)
    registry.record_verification(RICH.id, Verification(RICH.fingerprint, 1.0, {}, damage))
    assert registry.known() == {RICH.path: RICH, twin.path: twin}


# -- full checks


def test_a_check_is_kept_with_its_digests(registry: Registry, tmp_path: Path) -> None:
    check = Verification("f", 12.5, {"model.onnx": "ab" * 32}, (Problem("content_damaged", "Copy it.", "model.onnx"),))
    registry.apply(report(RICH))
    assert registry.verification(RICH.id) is None
    registry.record_verification(RICH.id.upper(), check)
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        assert other.verification(RICH.id) == check
        assert (other.get(RICH.id).status, other.get(RICH.id).verified_s) == (Status.INVALID, 12.5)
    registry.record_verification(RICH.id, replace(check, verified_s=13.0, problems=()))
    assert (registry.get(RICH.id).status, registry.get(RICH.id).verified_s) == (Status.READY, 13.0)
    registry.apply(report(replace(RICH, fingerprint="g")))
    assert registry.get(RICH.id).verified_s is None
    with pytest.raises(ModelNotFound):
        registry.record_verification("nothing:1", check)
    with pytest.raises(ModelNotFound):
        registry.verification("nothing:1")


# -- hints and libraries


def test_hints_are_kept_as_they_are_and_in_their_order(registry: Registry, tmp_path: Path) -> None:
    hints = [Hint("b", "chat", 8, "ü \ud800", {"more": [1, {"x": None}]}), Hint("a", None, 2.5), Hint("a")]
    registry.set_hints(hints)
    registry.set_hints(hints)
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        assert other.hints() == tuple(hints)
        assert isinstance(other.hints()[0].min_ram_gb, int)
        other.set_hints(hints[1:])
    assert registry.hints() == tuple(hints[1:])


def test_a_library_is_allowed_by_its_content(registry: Registry, tmp_path: Path) -> None:
    registry.allow_library("ab" * 32, model_id="phi:1")
    registry.allow_library("ab" * 32, model_id="phi:2")
    with Registry.open(tmp_path / "state" / "registry.db") as other:
        assert other.allowed_libraries() == {"ab" * 32}
        other.disallow_library("ab" * 32)
        other.disallow_library("cd" * 32)
    assert registry.allowed_libraries() == frozenset()


# -- roots


def test_roots_are_resolved_and_kept_in_order(registry: Registry, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        registry.add_root(tmp_path / "b" / ".." / name)
    registry.add_root(tmp_path / "a")
    assert [choice.path for choice in registry.root_choices()] == [tmp_path.resolve() / "b", tmp_path.resolve() / "a"]


def test_a_root_has_to_be_a_folder_that_is_there(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRoot, match="does not exist"):
        registry.add_root(tmp_path / "gone")
    with pytest.raises(InvalidRoot, match="is a file"):
        registry.add_root(tmp_path / "file")
    with pytest.raises(InvalidRoot, match="not among"):
        registry.remove_root(tmp_path)


def test_a_removed_root_takes_its_models_along_but_for_pinned_ones(
    registry: Registry, tmp_path: Path, place_model: Any
) -> None:
    outer = tmp_path.resolve() / "outer"
    for name in ("free", "pinned", "inner/kept"):
        place_model(outer / name)
    (outer / "broken").mkdir()
    (outer / "broken" / "genai_config.json").touch()
    roots = [Root(registry.add_root(path), Source.FOLDER) for path in (outer, outer / "inner")]
    registry.apply(scan(roots))
    registry.pin(Task.CHAT, "pinned:0")
    registry.remove_root(outer)
    assert {model.name: model.status for model in registry.models()} == {
        "kept": Status.READY,
        "pinned": Status.MISSING,
    }
    assert registry.problems() == ()
    assert [choice.path for choice in registry.root_choices()] == [outer / "inner"]


def test_a_removed_root_leaves_a_model_that_is_elsewhere_too(
    registry: Registry, tmp_path: Path, place_model: Any
) -> None:
    gone, stays = (registry.add_root(place_model(tmp_path / name / "phi").parent) for name in ("gone", "stays"))
    registry.apply(scan([Root(gone, Source.FOLDER), Root(stays, Source.FOLDER)]))
    assert registry.get("phi").locations == (stays / "phi",)
    registry.remove_root(gone)
    assert (registry.get("phi").path, registry.get("phi").locations) == (stays / "phi", ())


def test_the_id_of_a_model_that_went_with_its_root_is_free_again(
    registry: Registry, tmp_path: Path, place_model: Any
) -> None:
    gone, stays = (registry.add_root(place_model(tmp_path / name / "phi").parent) for name in ("gone", "stays"))
    (stays / "phi" / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    registry.apply(scan([Root(gone, Source.FOLDER), Root(stays, Source.FOLDER)]))
    assert len(registry.models()) == 2
    registry.remove_root(gone)
    assert [(model.name, model.path) for model in registry.models()] == [("phi", stays / "phi")]


def test_a_root_can_be_switched_off_and_on_wherever_it_comes_from(registry: Registry, tmp_path: Path) -> None:
    added, found = tmp_path.resolve() / "added", tmp_path.resolve() / "found"
    added.mkdir()
    registry.add_root(added, settle_s=3.0)
    registry.switch_root(added, is_enabled=False)
    registry.switch_root(found, is_enabled=False)
    off = (RootChoice(added, is_enabled=False, settle_s=3.0), RootChoice(found, is_added=False, is_enabled=False))
    assert registry.root_choices() == off
    registry.switch_root(found, is_enabled=True)
    assert registry.add_root(added) == added
    assert registry.root_choices() == (RootChoice(added, settle_s=3.0),)
    with pytest.raises(InvalidRoot, match="not among"):
        registry.remove_root(found)


def test_what_lies_in_a_root_that_is_off_is_missing_after_a_scan_and_keeps_its_pin(
    registry: Registry, root: Root, place_model: Any
) -> None:
    place_model(root.path / "phi")
    registry.apply(scan([root]))
    registry.pin(Task.CHAT, "phi:0")
    registry.switch_root(root.path, is_enabled=False)
    assert registry.get("phi").status is Status.READY
    off = replace(root, is_enabled=False)
    assert registry.apply(scan([off], known=registry.known())).missing == ("phi:0",)
    assert registry.pins() == (Pin(Task.CHAT, "phi:0"),)
    assert registry.apply(scan([root], known=registry.known())).added == ("phi:0",)


# -- the file


def test_the_file_is_private(registry: Registry, tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("POSIX permissions")
    assert stat.S_IMODE((tmp_path / "state" / "registry.db").stat().st_mode) == 0o600


def _write_newer(path: Path) -> None:
    Registry.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def _write_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (_write_newer, "newer slmreg"),
        (_write_foreign, "another program"),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_advice(
    prepare: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    prepare(tmp_path / "r.db")
    with pytest.raises(DatabaseError, match=says) as caught:
        Registry.open(tmp_path / "r.db")
    assert str(tmp_path / "r.db") in caught.value.message


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_a_folder_may_have_a_name_that_looks_like_part_of_a_url(tmp_path: Path) -> None:
    path = tmp_path / "100%41 a?b#c" / "r.db"
    with Registry.open(path) as registry:
        registry.apply(report(RICH))
    with Registry.open(path) as registry:
        assert registry.models() == (RICH,)
    assert [each.name for each in tmp_path.iterdir()] == [path.parent.name]


def test_writers_do_not_block_readers(registry: Registry, tmp_path: Path) -> None:
    registry.apply(report(RICH))
    other = sqlite3.connect(tmp_path / "state" / "registry.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM models")
    assert registry.models() == (RICH,)
    other.execute("ROLLBACK")
    other.close()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(DatabaseError, match="SLMREG_HOME"):
        Registry.open(tmp_path / "home" / "r.db")


def test_a_failed_write_leaves_everything_as_it_was(registry: Registry) -> None:
    registry.apply(report(RICH))
    with pytest.raises(DatabaseError):
        registry.apply(report(variant("new"), variant("refused by the schema", fingerprint=None)))
    assert registry.models() == (RICH,)
    registry.apply(report(RICH, variant("new")))
    assert len(registry.models()) == 2


# -- several at once


def _write_many(path: str, name: str, started: Any) -> None:
    started.wait()
    with Registry.open(Path(path)) as registry:
        for index in range(15):
            mine = variant(f"{name}-{index}")
            registry.apply(ScanReport((mine,), (), (mine.path,), 0.0))
            registry.pin(Task.CHAT, mine.id)


def test_making_a_registry_waits_for_another_process_that_does(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
    release.start()
    with Registry.open(path) as registry:
        assert registry.models() == ()
    release.join()
    other.close()


def test_two_processes_make_and_write_one_registry(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    processes = [context.Process(target=_write_many, args=(str(path), name, started)) for name in ("x", "y")]
    for process in processes:
        process.start()
    started.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    with Registry.open(path) as registry:
        assert len(registry.models()) == 30


def test_threads_read_and_write_at_once(registry: Registry) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for index in range(10):
                mine = variant(f"{name}-{index}")
                registry.apply(ScanReport((mine,), (), (mine.path,), 0.0))
                assert registry.get(mine.id) == mine
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(registry.models()) == 40


def test_reading_needs_none_of_the_slow_imports(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with Registry.open(path) as registry:
        registry.apply(report(RICH))
    code = (
        "import sys; from pathlib import Path; from registry.store import Registry\n"
        f"with Registry.open(Path({str(path)!r})) as registry: print(registry.get('phi-4').id)\n"
        "print([name for name in ('sqlmodel', 'sqlalchemy', 'alembic', 'watchdog') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n")[:2] == [RICH.id, "[]"]
