"""What a scan says of any tree: the same in any order, the same by parts as at once, and never an exception."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.model import Root, ScanReport, Source
from registry.scan import scan

COMMIT = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"
# Folder names that mean something to somebody, and names that are merely awkward.
NAMES = st.sampled_from(
    [
        *("phi", "Phi-generic-cpu-5", "onnx", "v2", "cpu-int4", ".hidden", "datasets--a--b", "download"),
        *("models--", "models--x--y", "snapshots", "new\nline", "-rf", "ünï", "🙂", "a:b", "auto", "x" * 200, "~"),
    ]
)
IN_HUB = st.sampled_from(
    ["", "models--a--b-onnx/blobs", "models--a--b-onnx/snapshots/" + COMMIT, "hub/models--c/snapshots/1"]
)
KINDS = st.sampled_from(
    [
        "model",
        "model",
        "broken",
        "unfinished",
        "download.tmp",
        "x.dlstate",
        "abc.incomplete",
        "plain",
        "manifest",
        "link",
    ]
)
PATHS = st.tuples(IN_HUB, st.lists(NAMES, min_size=1, max_size=3).map("/".join)).map("/".join)
TREES = st.dictionaries(PATHS | IN_HUB, KINDS, max_size=7)


def grow(root: Path, tree: Iterable[tuple[str, str]], template: Path) -> None:
    for below, kind in tree:
        folder = root / below.lstrip("/")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # below a link or a file
            continue
        _furnish(folder, kind, template, root)


def _furnish(folder: Path, kind: str, template: Path, root: Path) -> None:
    if kind in ("model", "broken", "unfinished"):
        shutil.copytree(template, folder, dirs_exist_ok=True, copy_function=os.link)
        if kind != "model":
            (folder / "model.onnx").unlink()
    if kind == "unfinished":
        (folder / "model.onnx.part").touch()
    elif kind == "plain":
        (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
        (folder / "model_q4.onnx").touch()
    elif kind == "manifest":
        (folder / "manifest.json").write_text('{"schema_version": "1.0", "components": {}}', encoding="utf-8")
    elif kind == "link" and os.name != "nt":
        (folder / "linked").symlink_to(root)
    elif "." in kind:
        (folder / kind).touch()


Facts = set[tuple[Path, object]]


def told(report: ScanReport, root: Path) -> tuple[Facts, Facts]:
    models: Facts = {(m.path.relative_to(root), (m.id, m.alias, m.refs, m.status)) for m in report.models}
    problems: Facts = {(p.path.relative_to(root), (p.code, p.file)) for p in report.problems}
    return models, problems


def within(report: ScanReport, start: Path, root: Path) -> tuple[Facts, Facts]:
    """What a report says of the part of it below ``start``."""
    models, problems = told(report, root)
    inside = start.relative_to(root)
    return (
        {fact for fact in models if fact[0].is_relative_to(inside)},
        {fact for fact in problems if fact[0].is_relative_to(inside)},
    )


@pytest.fixture(scope="module")
def template(model_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model on the file system of the trees, so that it can be linked into them."""
    return shutil.copytree(model_template, tmp_path_factory.mktemp("linked") / "model")


@settings(max_examples=60, deadline=None)
@given(tree=TREES, seed=st.integers(0, 2**16))
def test_what_is_reported_is_independent_of_the_order(
    tree: dict[str, str], seed: int, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shuffled = sorted(tree.items())
    random.Random(seed).shuffle(shuffled)
    with TemporaryDirectory(dir=template.parent) as one, TemporaryDirectory(dir=template.parent) as other:
        reports = []
        for place, items in ((one, sorted(tree.items())), (other, shuffled)):
            root = Path(place).resolve() / "root"
            root.mkdir()
            grow(root, items, template)
            inner = Root(root / "phi", Source.FOUNDRY)
            roots = [Root(root, Source.FOLDER), inner] if place == one else [inner, Root(root, Source.FOLDER)]
            report = scan(roots)
            assert [model.path for model in report.models] == sorted(model.path for model in report.models)
            reports.append(told(report, root))
    assert reports[0] == reports[1]


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_a_scan_of_a_part_says_what_a_scan_of_everything_says_of_it(tree: dict[str, str], template: Path) -> None:
    with TemporaryDirectory(dir=template.parent) as place:
        root = Path(place).resolve() / "root"
        root.mkdir()
        grow(root, tree.items(), template)
        roots = [Root(root, Source.FOLDER)]
        everything = scan(roots)
        for folder in (root, *(Path(found) for found, _names, _files in os.walk(root))):
            report = scan(roots, under=folder)
            (start,) = report.covered
            assert folder.is_relative_to(start)
            assert told(report, root) == within(everything, start, root), folder


@settings(max_examples=40, deadline=None)
@given(tree=TREES)
def test_a_second_scan_reads_nothing_that_was_ready_and_says_the_same(tree: dict[str, str], template: Path) -> None:
    with TemporaryDirectory(dir=template.parent) as place:
        root = Path(place).resolve() / "root"
        root.mkdir()
        grow(root, tree.items(), template)
        first = scan([Root(root, Source.FOLDER)])
        again = scan([Root(root, Source.FOLDER)], known={model.path: model for model in first.models})
        assert again.unchanged == {model.path for model in first.models}
        assert again.problems == first.problems
