from __future__ import annotations

import os
from pathlib import Path

from registry.index.models import Index, Models
from registry.index.state import State
from registry.index.stored import StoredModel
from registry.model import FolderProblem, Model, Source, Status

ROOT = Path("/r").absolute()


def row(key: int, folder: str, name: str | None = None, status: Status = Status.READY) -> StoredModel:
    name = name or folder
    model = Model(
        name=name,
        version="1",
        alias=name,
        path=ROOT / folder,
        source=Source.FOLDER,
        status=status,
        content=str(key),
    )
    return StoredModel(key, model, name, 0.0)


def test_an_index_follows_what_goes_and_comes() -> None:
    index = Index().followed_by([], [("a", 1), ("a", 2), ("b", 3)])
    assert (index["a"], index["b"], index["c"]) == ((1, 2), (3,), ())
    after = index.followed_by([("a", 1), ("b", 3)], [("c", 3), ("a", 4)])
    assert (after["a"], after["b"], after["c"]) == ((2, 4), (), (3,))
    assert index["a"] == (1, 2)


def test_what_lies_in_a_folder_is_found_beside_names_that_begin_like_it() -> None:
    folders = ("a", f"a{os.sep}x", f"a{os.sep}x{os.sep}y", "a-b", "a.b", "ab", "b")
    models = Models().followed_by(row(key, folder) for key, folder in enumerate(folders, start=1))
    inside = {str(ROOT / folder) for folder in folders[:3]}
    assert set(models.below(ROOT / "a")) == inside
    assert set(models.below(ROOT / "a" / "x" / "y")) == {str(ROOT / "a" / "x" / "y")}
    assert list(models.below(ROOT / "c")) == []
    assert len(models.below(ROOT)) == len(folders)
    assert len(models.below(Path(ROOT.anchor))) == len(folders)
    problems = {str(ROOT / each): FolderProblem(ROOT / each, "graph_missing", "Copy.") for each in folders}
    assert set(State(problems=problems).problems_below(ROOT / "a")) == inside


def test_rows_are_found_by_where_they_are_and_where_they_were() -> None:
    models = Models().followed_by([row(1, "a"), row(2, "b", status=Status.MISSING)])
    assert models.at == {str(ROOT / "a"): 1}
    assert models.gone_from[str(ROOT / "b")] == (2,)
    after = models.followed_by([row(1, "a", status=Status.MISSING)], forgotten=[2])
    assert (after.at, after.gone_from[str(ROOT / "a")], after.gone_from[str(ROOT / "b")]) == ({}, (1,), ())
    assert models.rows.keys() == {1, 2}


def test_names_are_found_without_case_and_listed_in_order() -> None:
    models = Models().followed_by([row(1, "b", "Qwen"), row(2, "a", "phi"), row(3, "c", "PHI-x")])
    assert (models.names["qwen"], models.ids["phi-x:1"]) == ((1,), 3)
    assert [model.name for model in models.listing] == ["phi", "PHI-x", "Qwen"]
    assert models.listing is models.listing
