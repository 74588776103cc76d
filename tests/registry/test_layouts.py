"""Every layout the factory can write, scanned: exactly these models and problems, with exactly these facts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from registry.model import Model, Root, ScanReport, Source
from registry.scan import scan
from registry.sources import find_roots
from scripts.model_factory.layouts import (
    FOLDERS,
    Expectation,
    Layout,
    foundry_cache,
    foundry_cache_at_root,
    foundry_registration,
    hugging_face_cache,
)

LAYOUTS = [
    *(pytest.param(layout, Source.FOLDER, id=name) for name, layout in FOLDERS.items()),
    pytest.param(foundry_cache, Source.FOUNDRY, id="foundry_cache"),
    pytest.param(foundry_cache_at_root, Source.FOUNDRY, id="foundry_cache_at_root"),
    pytest.param(hugging_face_cache, Source.HUGGING_FACE, id="hugging_face_cache"),
]


def differences(report: ScanReport, root: Path, expectations: Iterable[Expectation]) -> list[str]:
    """In words, folder by folder: what was found and not expected, or expected and not found."""
    expected = {each.path: each for each in expectations}
    models = {relative(model.path, root): model for model in report.models}
    problems = {relative(each.path, root): each for each in report.problems}
    said = [f"{path}: nothing was found" for path in expected.keys() - models.keys() - problems.keys()]
    for path, model in models.items():
        said += [f"{path}: {each}" for each in misread(model, expected.get(path))]
    for path, problem in problems.items():
        seen, wanted = (problem.status, (problem.code,)), expected.get(path)
        if wanted is None or wanted.facts or seen != (wanted.status, wanted.problems):
            said.append(f"{path}: a problem, {problem.code}: {problem.message}")
    return sorted(said)


def misread(model: Model, expectation: Expectation | None) -> list[str]:
    if expectation is None or not expectation.facts:
        return [f"a model, {model.id}"]
    seen: dict[str, Any] = {name: getattr(model, name) for name in expectation.facts}
    seen |= {"status": model.status, "problems": tuple(problem.code for problem in model.problems)}
    wanted = {**expectation.facts, "status": expectation.status, "problems": expectation.problems}
    return [f"{name} is {seen[name]!r}, not {value!r}" for name, value in wanted.items() if seen[name] != value]


def relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


@pytest.mark.parametrize(("layout", "source"), LAYOUTS)
def test_a_scan_finds_exactly_what_is_there(tmp_path: Path, layout: Layout, source: Source) -> None:
    root = (tmp_path / "root").resolve()
    root.mkdir()
    expectations = layout(root)

    report = scan([Root(root, source, added_by_user=True)])

    assert differences(report, root, expectations) == []
    assert len({model.id for model in report.models}) == len(report.models)


def test_a_model_registered_with_a_foundry_cache_is_found_where_it_lies(tmp_path: Path) -> None:
    tmp_path = tmp_path.resolve()
    cache, folder = tmp_path / "cache", tmp_path / "elsewhere" / "my-tiny"
    expectations = foundry_registration(cache, folder)

    report = scan(find_roots({"SLMREG_FOUNDRY_CACHES": str(cache), "SLMREG_HF_CACHE": ""}, home=tmp_path))
    ours = [model for model in report.models if model.source is Source.FOUNDRY]

    assert [model.path for model in ours] == [folder]
    assert misread(ours[0], expectations[0]) == []


def test_markers_of_the_catalog_and_links_of_the_hub_are_kept(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    foundry_cache(root)

    report = scan([Root(root, Source.FOUNDRY)])
    thinker = next(model for model in report.models if model.alias == "thinker")

    assert thinker.tool_markers is not None
    assert (thinker.tool_markers.start, thinker.tool_markers.end) == ("<tool_call>", "</tool_call>")
    assert thinker.reasoning_markers is not None
    assert (thinker.reasoning_markers.start, thinker.reasoning_markers.end) == ("<think>", "</think>")
