from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from registry.index.reference import near
from registry.index.state import Models
from registry.index.stored import StoredModel
from registry.model import Model, Source, Status

MANY = 10_000


@pytest.fixture(scope="module")
def many() -> Models:
    """Names that have nearly everything in common, and one that is apart."""
    names = (*(f"model-{number:05}-generic-cpu" for number in range(MANY)), "Phi-4-mini-instruct")
    return Models().followed_by(_row(key, name) for key, name in enumerate(names, start=1))


def _row(key: int, name: str) -> StoredModel:
    model = Model(
        name=name,
        version="1",
        alias=name,
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
