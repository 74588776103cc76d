from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.model import Model, Root, ScanReport, Source, Status
from registry.place import Place
from registry.scan import scan
from registry.walk import Walk


def ids(report: ScanReport) -> list[str]:
    return sorted(model.id for model in report.models)


def codes(report: ScanReport) -> dict[str, str]:
    return {problem.path.name: problem.code for problem in report.problems}


def known(report: ScanReport) -> dict[Path, Model]:
    return {model.path: model for model in report.models}


def test_foundry_layout_with_publisher_and_version_folder(root: Root, place_model: Any) -> None:
    place_model(root.path / "Microsoft" / "Phi-4-generic-cpu-5" / "v5", name="Phi-4-generic-cpu:5")
    place_model(root.path / "Microsoft" / "Qwen-generic-cpu-2" / "v2")
    assert ids(scan([root])) == ["Phi-4-generic-cpu:5", "Qwen-generic-cpu:2"]


def test_plain_folders_at_any_depth_and_at_the_root_itself(tmp_path: Path, place_model: Any) -> None:
    place_model(tmp_path / "r")
    place_model(tmp_path / "r" / "a" / "b" / "phi" / "onnx")
    assert ids(scan([Root(tmp_path / "r", Source.FOLDER)])) == ["phi:0", "r:0"]


def test_one_bad_folder_never_stops_a_scan(root: Root, place_model: Any) -> None:
    bad = place_model(root.path / "a-bad")
    (bad / "genai_config.json").write_text("{", encoding="utf-8")
    (place_model(root.path / "b-partial") / "download.tmp").touch()
    place_model(root.path / "c-good")
    report = scan([root])
    assert ids(report) == ["c-good:0"]
    assert codes(report) == {"a-bad": "genai_config_invalid", "b-partial": "unfinished"}
    assert {problem.status for problem in report.problems} == {Status.INVALID, Status.PARTIAL}


def test_a_blocked_folder_is_reported_as_blocked(root: Root, place_model: Any) -> None:
    options = {"model": {"decoder": {"session_options": {"custom_ops_library": "x.so"}}}}
    place_model(root.path / "m", config=options)
    assert [problem.status for problem in scan([root]).problems] == [Status.BLOCKED]


def test_a_download_marker_above_the_version_folder_counts(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "Microsoft" / "Phi-generic-cpu-1" / "v1")
    (folder.parent / "download.tmp").touch()
    assert codes(scan([root])) == {"v1": "unfinished"}
    assert codes(scan([root], under=folder)) == {"v1": "unfinished"}


def test_a_download_that_has_no_model_yet_is_reported(root: Root) -> None:
    folder = root.path / "Microsoft" / "Phi-generic-cpu-1"
    folder.mkdir(parents=True)
    (folder / "download.tmp").touch()
    assert codes(scan([root])) == {"Phi-generic-cpu-1": "unfinished"}


def test_an_inference_model_alone_lacks_its_configuration(root: Root) -> None:
    (root.path / "m").mkdir()
    (root.path / "m" / "inference_model.json").write_text('{"Name": "m:1"}', encoding="utf-8")
    assert codes(scan([root])) == {"m": "genai_config_missing"}


def test_hidden_folders_are_passed_over_unless_they_are_roots(root: Root, place_model: Any) -> None:
    place_model(root.path / ".hidden" / "phi")
    assert ids(scan([root])) == []
    assert ids(scan([root, Root(root.path / ".hidden", Source.FOLDER)])) == ["phi:0"]


def test_a_root_inside_a_root_is_walked_once_and_with_its_own_source(root: Root, place_model: Any) -> None:
    place_model(root.path / "inner" / "phi")
    report = scan([root, Root(root.path / "inner", Source.FOUNDRY)])
    assert [model.source for model in report.models] == [Source.FOUNDRY]


def test_depth_is_bounded(root: Root, place_model: Any) -> None:
    place_model(root.path / "1" / "2" / "phi")
    assert ids(scan([root], max_depth=2)) == []
    assert ids(scan([root], max_depth=3)) == ["phi:0"]


def test_a_broken_catalog_costs_only_its_facts(root: Root, place_model: Any) -> None:
    (root.path / "foundry.modelinfo.json").write_text("[]", encoding="utf-8")
    place_model(root.path / "phi")
    report = scan([root])
    assert ids(report) == ["phi:0"]
    assert codes(report) == {"models": "catalog_invalid"}


def test_a_root_that_is_not_there_is_covered_and_empty(tmp_path: Path) -> None:
    report = scan([Root(tmp_path / "gone", Source.FOLDER, exists=False)])
    assert (report.models, report.problems, report.covered) == ((), (), (tmp_path / "gone",))


def test_models_outside_every_root_are_covered_by_a_full_scan_only(
    root: Root, tmp_path: Path, place_model: Any
) -> None:
    elsewhere = Root(tmp_path / "elsewhere", Source.FOLDER)
    before = known(scan([elsewhere])) | {
        place_model(elsewhere.path / "phi"): replace(next(iter(scan([elsewhere]).models)), status=Status.READY)
    }
    assert elsewhere.path / "phi" in scan([root], known=before).covered
    assert elsewhere.path / "phi" not in scan([root], known=before, under=root.path / "x").covered


# -- only a part


def test_under_a_folder_only_that_folder_is_walked(root: Root, place_model: Any) -> None:
    place_model(root.path / "a")
    place_model(root.path / "b" / "c")
    report = scan([root], under=root.path / "b")
    assert ids(report) == ["c:0"]
    assert report.covered == (root.path / "b",)


def test_under_a_folder_inside_a_model_the_model_is_read(root: Root, place_model: Any) -> None:
    (place_model(root.path / "phi") / "extras").mkdir()
    assert ids(scan([root], under=root.path / "phi" / "extras")) == ["phi:0"]


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_under_a_folder_that_a_scan_of_everything_does_not_enter_the_folder_around_it_is_walked(
    root: Root, place_model: Any
) -> None:
    place_model(root.path / "a" / ".hidden" / "phi")
    place_model(root.path / "b" / "1" / "2" / "3" / "phi")
    (root.path / "a" / "link").symlink_to(root.path / "b")
    for under, start in ((".hidden/phi", "a"), ("link/1/2", "a"), ("../b/1/2/3/phi", "b/1/2")):
        report = scan([root], under=Path(os.path.normpath(root.path / "a" / under)), max_depth=3)
        assert (report.models, report.covered) == ((), (root.path / start,))


def test_under_a_folder_that_is_gone_nothing_is_found_and_it_is_covered(root: Root) -> None:
    report = scan([root], under=root.path / "gone")
    assert (report.models, report.covered) == ((), (root.path / "gone",))


def test_under_a_folder_around_a_root_that_root_is_walked(root: Root, place_model: Any) -> None:
    place_model(root.path / "phi")
    assert ids(scan([root], under=root.path.parent)) == ["phi:0"]


# -- what is known


def test_an_unchanged_model_is_listed_without_reading_it(root: Root, place_model: Any) -> None:
    place_model(root.path / "phi")
    before = {path: replace(model, license="remembered") for path, model in known(scan([root])).items()}
    report = scan([root], known=before)
    assert report.unchanged == before.keys()
    assert (report.models, report.problems) == ((), ())


@pytest.mark.parametrize("change", ["touch", "add", "catalog", "download", "library", "refs", "source", "status"])
def test_a_changed_model_is_read_again(change: str, root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "phi", name="phi:1")
    before = {path: replace(model, license="remembered") for path, model in known(scan([root])).items()}
    if change == "touch":
        os.utime(folder / "model.onnx", ns=(1, 1))
    elif change == "add":
        (folder / "notes.txt").touch()
    elif change == "catalog":
        entry = {"id": "phi:1", "alias": "p"}
        (root.path / "foundry.modelinfo.json").write_text(json.dumps({"models": [entry]}), encoding="utf-8")
    elif change == "download":
        (folder / "download.tmp").touch()
    elif change == "library":
        before = {path: replace(model, custom_ops_library="ops.so") for path, model in before.items()}
    elif change == "refs":
        before = {path: replace(model, refs=("main",)) for path, model in before.items()}
    elif change == "source":
        root = replace(root, source=Source.FOUNDRY)
    else:
        before = {path: replace(model, status=Status.PARTIAL) for path, model in before.items()}
    report = scan([root], known=before)
    assert report.unchanged == frozenset()
    assert "remembered" not in [model.license for model in report.models]


def test_moving_a_folder_keeps_its_fingerprint(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "a" / "phi")
    first = scan([root]).models[0].fingerprint
    shutil.move(folder, root.path / "phi")
    assert [model.fingerprint for model in scan([root]).models] == [first]


# -- roots that are switched off, roots inside of others


def test_a_root_that_is_switched_off_is_passed_over_also_inside_another(root: Root, place_model: Any) -> None:
    place_model(root.path / "inner" / "phi")
    place_model(root.path / "llama")
    inner = Root(root.path / "inner", Source.FOLDER, is_enabled=False)
    before = known(scan([root]))
    report = scan([root, inner], known=before)
    assert report.unchanged == {root.path / "llama"}
    assert report.covered == (root.path,)
    assert scan([inner, replace(root, is_enabled=False)], known=before).covered == tuple(before)


def test_a_root_inside_a_model_is_no_part_of_it(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "phi")
    (folder / "adapters").mkdir()
    (folder / "adapters" / "note").write_text("x", encoding="utf-8")
    whole, apart = scan([root]), scan([root, Root(folder / "adapters", Source.FOLDER)])
    assert whole.models[0].size_bytes == apart.models[0].size_bytes + 1


def test_under_a_folder_of_a_root_that_is_switched_off_nothing_is_looked_at(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "phi")
    report = scan([replace(root, is_enabled=False)], under=folder)
    assert (report.models, report.covered) == ((), ())


# -- a model's own sub-folders


def test_files_in_sub_folders_belong_to_the_model_unless_there_is_a_model_in_them(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "phi")
    size_bytes = scan([root]).models[0].size_bytes
    for below, size in (("extra/deep/a", 1), (".git/b", 10), ("models/readme", 100), ("loading/c", 1000)):
        (folder / below).parent.mkdir(parents=True)
        (folder / below).write_bytes(b"x" * size)
    place_model(folder / "models" / "cpu-int4")
    (folder / "loading" / "download.tmp").touch()
    report = scan([root])
    assert ids(report) == ["phi-cpu-int4:0", "phi:0"]
    assert next(model for model in report.models if model.path == folder).size_bytes == size_bytes + 1
    assert codes(report) == {"loading": "unfinished"}


def test_a_half_copied_file_in_a_sub_folder_makes_the_model_unfinished(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "phi")
    (folder / "weights").mkdir()
    (folder / "weights" / "model.onnx.data.dlstate").touch()
    assert codes(scan([root])) == {"phi": "unfinished"}


def test_plain_onnx_is_reported_unless_it_is_a_part_of_a_model(root: Root, place_model: Any) -> None:
    for folder in (root.path / "bert", place_model(root.path / "phi") / "onnx-part"):
        (folder / "onnx").mkdir(parents=True)
        (folder / "onnx" / "model.onnx").write_bytes(b"x")
        (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    for under in (None, root.path / "bert" / "onnx"):
        assert codes(scan([root], under=under)) == {"bert": "not_genai"}
    assert codes(scan([root], under=root.path / "phi" / "onnx-part" / "onnx")) == {}


# -- bounds


def walked(root: Root, closed: str = "", max_directories: int = 100, max_entries: int = 100) -> tuple[Walk, bool]:
    walk = Walk(
        {},
        [root],
        closed=frozenset({closed}),
        max_depth=8,
        max_directories=max_directories,
        max_entries=max_entries,
    )
    return walk, walk.start(str(root.path), Place(root), 0)


@pytest.mark.parametrize(("directories", "entries"), [(4, 100), (100, 3)])
def test_a_root_with_more_than_is_looked_at_is_reported_and_not_covered(
    directories: int, entries: int, root: Root
) -> None:
    for name in "abc":
        (root.path / name).mkdir()
    assert walked(root, max_directories=directories, max_entries=entries)[1] is True
    (root.path / "d").mkdir()
    walk, is_whole = walked(root, max_directories=directories, max_entries=entries)
    assert is_whole is False
    assert [(problem.path, problem.code) for problem in walk.problems.values()] == [(root.path, "scan_limit")]


def test_folders_of_the_system_are_not_entered(root: Root, place_model: Any) -> None:
    place_model(root.path / "proc" / "phi")
    place_model(root.path / "home" / "phi")
    walk, _is_whole = walked(root, closed=str(root.path / "proc"))
    assert list(walk.models) == [str(root.path / "home" / "phi")]


def test_many_files_in_a_folder_and_many_folders_are_no_trouble(root: Root) -> None:
    for number in range(3000):
        (root.path / f"file-{number}").touch()
    for number in range(300):
        (root.path / "deep" / str(number)).mkdir(parents=True)
    assert scan([root]).problems == ()


# -- links and names


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_loops_of_links_end(root: Root, place_model: Any) -> None:
    place_model(root.path / "phi")
    (root.path / "loop").symlink_to(root.path)
    (root.path / "self").symlink_to("self")
    assert ids(scan([root])) == ["phi:0"]


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_a_linked_model_outside_the_roots_is_said_with_what_to_do(root: Root, tmp_path: Path, place_model: Any) -> None:
    place_model(tmp_path / "outside" / "phi")
    (root.path / "phi").symlink_to(tmp_path / "outside" / "phi")
    report = scan([root])
    assert codes(report) == {"phi": "link_not_followed"}
    assert f"slmreg roots add {tmp_path.resolve() / 'outside'}" in report.problems[0].message
    assert ids(report) == []


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs byte names")
def test_a_name_that_is_not_utf8_is_reported(root: Root) -> None:
    bad = root.path / os.fsdecode(b"bad-\xff")
    try:
        bad.mkdir()
    except OSError:
        pytest.skip("the file system refuses such names")
    for under in (None, bad, bad / "inside"):
        report = scan([root], under=under)
        assert codes(report) == {"models": "path_not_utf8"}
        report.problems[0].message.encode()
        assert all(str(path).encode() for path in report.covered)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that count")
def test_an_unreadable_folder_is_reported_with_the_known_models_in_it(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "locked" / "phi")
    before = known(scan([root]))
    folder.parent.chmod(0)
    try:
        assert codes(scan([root], known=before)) == {"locked": "unreadable", "phi": "unreadable"}
    finally:
        folder.parent.chmod(0o700)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that count")
def test_a_model_folder_that_may_only_be_listed_is_unreadable(root: Root, place_model: Any) -> None:
    folder = place_model(root.path / "phi")
    folder.chmod(0o400)
    try:
        assert codes(scan([root])) == {"phi": "unreadable"}
    finally:
        folder.chmod(0o700)
