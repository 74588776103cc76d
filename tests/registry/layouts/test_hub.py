"""Hugging Face caches as huggingface_hub writes them, with links and without."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.layouts.hub import HubRepository, is_downloading_into
from registry.model import Model, Root, ScanReport, Source, Status
from registry.scan import scan

COMMIT = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"
OTHER_COMMIT = "ffeeddccbbaa99887766554433221100ffeeddcc"
VARIANT = "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need privileges")

Fill = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path) -> Root:
    path = tmp_path.resolve() / "hub"
    path.mkdir()
    return Root(path, Source.HUGGING_FACE)


@pytest.fixture
def fill(hub: Root, model_template: Path) -> Fill:
    """``fill("org/name", VARIANT)``: a model in a snapshot, as links into blobs or as the files themselves."""

    def fill_in(
        repository: str, below: str = "", *, commit: str = COMMIT, ref: str | None = "main", links: bool = True
    ) -> Path:
        path = hub.path / f"models--{repository.replace('/', '--')}"
        folder = path / "snapshots" / commit / below
        for made in (folder, path / "blobs", path / "refs"):
            made.mkdir(parents=True, exist_ok=True)
        for source in model_template.iterdir():
            if source.name == "inference_model.json":
                continue
            if links:
                link_blob(folder / source.name, source.read_bytes())
            else:
                shutil.copy(source, folder / source.name)
        if ref is not None:
            (path / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
            (path / "refs" / ref).write_text(commit, encoding="ascii")
        return folder

    return fill_in


def link_blob(file: Path, content: bytes) -> Path:
    """``file`` as a relative link to its content under the name of its hash."""
    repository = next(parent for parent in file.parents if parent.name.startswith("models--"))
    blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    file.symlink_to(os.path.relpath(blob, file.parent))
    return blob


def blob_of(file: Path) -> Path:
    return (file.parent / file.readlink()).resolve()


def ids(report: ScanReport) -> list[str]:
    return sorted(model.id for model in report.models)


def codes(report: ScanReport) -> dict[str, str]:
    return {problem.path.name: problem.code for problem in report.problems}


def known(report: ScanReport) -> dict[Path, Model]:
    return {model.path: model for model in report.models}


@pytest.mark.parametrize("links", [True, False])
def test_a_snapshot_is_a_model_with_its_repository_its_commit_and_its_refs(links: bool, hub: Root, fill: Fill) -> None:
    folder = fill("microsoft/Phi-3-mini-4k-instruct-onnx", VARIANT, links=links)
    (model,) = scan([hub]).models
    assert model.id == "Phi-3-mini-4k-instruct-cpu-int4-rtn-block-32-acc-level-4:a1b2c3d4"
    assert (model.alias, model.publisher) == ("Phi-3-mini-4k-instruct", "microsoft")
    assert (model.path, model.source, model.refs) == (folder, Source.HUGGING_FACE, ("main",))
    assert model.size_bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_sub_folders_and_revisions_are_models_side_by_side(hub: Root, fill: Fill) -> None:
    fill("org/phi-onnx", "cpu/int4")
    fill("org/phi-onnx", "cuda/int4")
    fill("org/phi-onnx", "cpu/int4", commit=OTHER_COMMIT, ref="refs-pr/1")
    report = scan([hub])
    assert ids(report) == ["phi-cpu-int4:a1b2c3d4", "phi-cpu-int4:ffeeddcc", "phi-cuda-int4:a1b2c3d4"]
    assert {model.refs for model in report.models} == {("main",), ("refs-pr/1",)}


def test_commits_that_begin_alike_are_told_apart(hub: Root, fill: Fill) -> None:
    fill("org/phi", commit=COMMIT)
    fill("org/phi", commit=COMMIT[:8] + "0" * 32)
    assert ids(scan([hub])) == ["phi:a1b2c3d40", "phi:a1b2c3d4e"]


def test_a_repository_without_publisher_has_none(hub: Root, fill: Fill) -> None:
    fill("phi")
    (model,) = scan([hub]).models
    assert (model.id, model.publisher) == ("phi:a1b2c3d4", None)


def test_what_is_no_repository_of_models_is_passed_over(hub: Root, fill: Fill, model_template: Path) -> None:
    fill("org/phi")
    for name in ("datasets--org--phi/snapshots/x", "spaces--org--phi/snapshots/x", ".locks/models--org--phi"):
        shutil.copytree(model_template, hub.path / name)
    (hub.path / "models--org--empty" / "refs").mkdir(parents=True)
    (hub.path / "version.txt").write_text("1", encoding="ascii")
    (hub.path / "models--org--phi" / ".no_exist" / COMMIT).mkdir(parents=True)
    report = scan([hub])
    assert (ids(report), report.problems) == (["phi:a1b2c3d4"], ())


def test_an_unchanged_snapshot_is_not_read_again_until_a_file_or_a_ref_changes(hub: Root, fill: Fill) -> None:
    folder = fill("org/phi")
    before = known(scan([hub]))
    assert scan([hub], known=before).unchanged == {folder}
    os.utime(blob_of(folder / "model.onnx"), ns=(1, 1))
    assert scan([hub], known=before).unchanged == frozenset()
    before = known(scan([hub], known={}))
    (hub.path / "models--org--phi" / "refs" / "main").write_text(OTHER_COMMIT, encoding="ascii")
    (model,) = scan([hub], known=before).models
    assert model.refs == ()


# -- downloads


def test_a_download_beside_a_whole_model_does_not_matter(hub: Root, fill: Fill) -> None:
    fill("org/phi")
    (hub.path / "models--org--phi" / "blobs" / "abc.incomplete").touch()
    assert ids(scan([hub])) == ["phi:a1b2c3d4"]


@pytest.mark.parametrize("lacking", ["model.onnx", "genai_config.json", "tokenizer.json"])
@pytest.mark.parametrize("is_dangling", [True, False])
def test_a_model_that_lacks_a_file_while_one_is_downloaded_is_unfinished(
    lacking: str, is_dangling: bool, hub: Root, fill: Fill
) -> None:
    folder = fill("org/phi-onnx", "cpu-int4")
    (folder / "inference_model.json").write_text("{}", encoding="utf-8")
    if is_dangling:
        blob_of(folder / lacking).unlink()
    else:
        (folder / lacking).unlink()
    without = scan([hub])
    assert [problem.status for problem in without.problems] == [Status.INVALID]
    (hub.path / "models--org--phi-onnx" / "blobs" / "abc.incomplete").touch()
    report = scan([hub])
    assert (ids(report), codes(report)) == ([], {"cpu-int4": "unfinished"})
    assert [problem.status for problem in report.problems] == [Status.PARTIAL]
    assert "hf download org/phi-onnx" in report.problems[0].message


def test_a_repository_of_which_nothing_has_arrived_is_said_if_its_name_tells_that_it_is_ours(hub: Root) -> None:
    for name in ("models--org--phi-ONNX", "models--org--phi"):
        (hub.path / name / "blobs").mkdir(parents=True)
        (hub.path / name / "snapshots" / COMMIT).mkdir(parents=True)
        (hub.path / name / "blobs" / "abc.incomplete").touch()
    assert codes(scan([hub])) == {"models--org--phi-ONNX": "unfinished"}


def test_a_download_into_a_folder_is_seen(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path.resolve() / "models" / "phi")
    downloads = folder / ".cache" / "huggingface" / "download" / "onnx"
    downloads.mkdir(parents=True)
    (downloads / "x.incomplete").touch()
    root = Root(tmp_path.resolve() / "models", Source.FOLDER)
    assert is_downloading_into(folder)
    assert ids(scan([root])) == ["phi:0"]
    (folder / "model.onnx").unlink()
    assert codes(scan([root])) == {"phi": "unfinished"}


# -- repositories without a model for onnxruntime-genai


def plain_export(snapshot: Path, graphs: tuple[str, ...] = ("model.onnx", "model_q4.onnx", "model_int8.onnx")) -> None:
    (snapshot / "onnx").mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    for name in graphs:
        (snapshot / "onnx" / name).write_bytes(b"x")


def test_a_repository_of_plain_onnx_is_said_once(hub: Root) -> None:
    snapshots = hub.path / "models--Xenova--bert" / "snapshots"
    plain_export(snapshots / COMMIT)
    plain_export(snapshots / OTHER_COMMIT)
    report = scan([hub])
    assert [problem.code for problem in report.problems] == ["not_genai"]


def test_plain_onnx_beside_a_usable_model_is_not_worth_a_word(hub: Root, fill: Fill) -> None:
    folder = fill("org/phi", "cpu-int4")
    plain_export(folder.parent)
    report = scan([hub])
    assert (ids(report), report.problems) == (["phi-cpu-int4:a1b2c3d4"], ())


def test_plain_onnx_that_is_still_downloaded_is_unfinished(hub: Root) -> None:
    repository = hub.path / "models--org--phi"
    plain_export(repository / "snapshots" / COMMIT)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "abc.incomplete").touch()
    assert [problem.code for problem in scan([hub]).problems] == ["unfinished"]


# -- a part of a cache


@pytest.mark.parametrize(
    "inside", ["", "blobs", "refs", "snapshots", f"snapshots/{COMMIT}", f"snapshots/{COMMIT}/cpu-int4"]
)
def test_what_happens_anywhere_in_a_repository_concerns_all_of_it(inside: str, hub: Root, fill: Fill) -> None:
    fill("org/phi", "cpu-int4")
    repository = hub.path / "models--org--phi"
    report = scan([hub], under=repository / inside)
    assert (ids(report), report.covered) == (["phi-cpu-int4:a1b2c3d4"], (repository,))


@pytest.mark.parametrize("below", ["", "snapshots", f"snapshots/{COMMIT}", f"snapshots/{COMMIT}/cpu-int4"])
def test_a_root_in_the_middle_of_a_cache_knows_where_it_is(below: str, hub: Root, fill: Fill) -> None:
    fill("org/phi", "cpu-int4")
    root = Root(hub.path / "models--org--phi" / below, Source.FOLDER, added_by_user=True)
    (model,) = scan([root]).models
    assert (model.id, model.publisher, model.refs) == ("phi-cpu-int4:a1b2c3d4", "org", ("main",))


def test_a_cache_below_a_folder_that_was_added_is_understood(hub: Root, fill: Fill) -> None:
    fill("org/phi")
    assert ids(scan([replace(hub, path=hub.path.parent, source=Source.FOLDER)])) == ["phi:a1b2c3d4"]


# -- references


def test_refs_are_read_with_their_folders_and_without_what_is_none(hub: Root, fill: Fill) -> None:
    fill("org/phi", ref="main")
    refs = hub.path / "models--org--phi" / "refs"
    (refs / "pr").mkdir()
    (refs / "pr" / "1").write_text(f"{COMMIT}\n", encoding="ascii")
    (refs / "other").write_bytes(b"\xff\xfe")
    (refs / "empty").touch()
    os.mkfifo(refs / "pipe")
    assert HubRepository(refs.parent).revision(COMMIT).refs == ("main", "pr/1")


def test_a_repository_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    repository = HubRepository(tmp_path / "models--a--b")
    assert (repository.revisions, repository.is_unfinished, repository.name) == ((), False, "a/b")
    assert repository.revision(COMMIT).refs == ()
