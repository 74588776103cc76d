from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.index.models import Models
from registry.index.reference import can_serve, near, newest
from registry.index.stored import StoredModel
from registry.model import Model, Source, Status, Task

MANY = 10_000


@pytest.fixture(scope="module")
def many() -> Models:
    """Names that have nearly everything in common, and one that is apart."""
    names = (*(f"model-{number:05}-generic-cpu" for number in range(MANY)), "Phi-4-mini-instruct")
    return Models().followed_by(_row(key, name) for key, name in enumerate(names, start=1))


def _row(key: int, name: str, version: str = "1", alias: str | None = None) -> StoredModel:
    model = Model(
        name=name,
        version=version,
        alias=alias or name,
        tasks=(Task.CHAT,),
        path=Path("/r") / name,
        source=Source.FOLDER,
        status=Status.READY,
        content=str(key),
    )
    return StoredModel(key, model, name, 0.0)


@pytest.mark.parametrize(
    ("reference", "meant"),
    [
        ("model-04711-genric-cpu", "model-04711-generic-cpu"),
        ("modl-04711-generic-cpu", "model-04711-generic-cpu"),
        ("04711", "model-04711-generic-cpu"),
        ("phi4-mini-instruct", "Phi-4-mini-instruct"),
        ("PHI-4-MINI-INSTRUCT-X", "Phi-4-mini-instruct"),
    ],
)
def test_a_near_name_is_found_among_thousands(reference: str, meant: str, many: Models) -> None:
    assert meant in near(many, reference)


@pytest.mark.parametrize("reference", ["model-04711-genric-cpu", "model", "x", "", "a" * 5000])
def test_few_of_thousands_of_names_are_compared(reference: str, many: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    compare = difflib.get_close_matches

    def counted(word: str, names: Collection[str], **options: Any) -> list[str]:
        compared.append(len(names))
        return compare(word, names, **options)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    near(many, reference)
    assert len(compared) == 1
    assert compared[0] <= 100


def test_among_few_names_each_is_compared() -> None:
    models = Models().followed_by([_row(1, "abcd"), _row(2, "wxyz")])
    assert near(models, "axbcd") == ("abcd",)


NAMES = st.text(st.sampled_from("aBc-4.É"), min_size=1, max_size=4)
PATTERNS = st.text(st.sampled_from("aAbBc-4.é*?[]!:"), min_size=1, max_size=6)


@given(st.lists(st.tuples(NAMES, st.integers(0, 12), NAMES), max_size=8), PATTERNS)
def test_the_newest_of_all_that_fit_is_found(names: list[tuple[str, int, str]], pattern: str) -> None:
    """What the indexes give is what looking at each model gives."""
    distinct = {f"{name}:{version}".casefold(): (name, str(version), alias) for name, version, alias in names}
    rows = [_row(key, *each) for key, each in enumerate(distinct.values(), start=1)]
    fitting = [
        row
        for row in rows
        if any(
            fnmatch.fnmatchcase(text.casefold(), pattern.casefold())
            for text in (row.model.id, row.model.name, row.model.alias)
        )
    ]
    found = newest(Models().followed_by(rows), Task.CHAT, pattern)
    assert (found in fitting) if fitting else found is None
    if found is not None:
        assert int(found.model.version) == max(int(row.model.version) for row in fitting)
        assert can_serve(found, Task.CHAT)
    assert newest(Models().followed_by(rows[::-1]), Task.CHAT, pattern) == found
    assert newest(Models().followed_by(rows), Task.CODE, pattern) is None


@given(st.text(max_size=30))
def test_no_pattern_is_an_error(pattern: str) -> None:
    assert newest(Models().followed_by([_row(1, "phi")]), Task.CODE, pattern) is None
