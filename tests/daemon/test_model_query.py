from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from daemon.listing import Marks
from daemon.model_query import EVERY_MODEL, ModelQuery, SortKey
from registry.model import ExecutionProvider, Source, Status, Task
from tests.daemon.api.guarded import HOST, call, guarded
from tests.fakes import a_model

MODELS = [
    a_model("ada", size_bytes=30, parameters=None, context_tokens=100),
    a_model("bob", size_bytes=10, parameters=7, context_tokens=300, tasks=(Task.CODE,), source=Source.FOUNDRY),
    a_model("Cyd", size_bytes=20, parameters=5, context_tokens=200, status=Status.MISSING, alias="family"),
    a_model("dan", size_bytes=20, parameters=6, context_tokens=200, execution_provider=ExecutionProvider.CUDA),
]
MARKS = Marks(loaded=["bob:1"], pinned={"dan:1": [Task.CHAT]})


def names(**wanted: Any) -> str:
    return " ".join(model.name for model in ModelQuery(**wanted).of(MODELS, MARKS))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "ada bob Cyd dan"),
        ({"task": Task.CODE}, "bob"),
        ({"task": Task.MATH}, ""),
        ({"status": Status.READY}, "ada bob dan"),
        ({"execution_provider": ExecutionProvider.CUDA}, "dan"),
        ({"source": Source.FOUNDRY}, "bob"),
        ({"is_loaded": True}, "bob"),
        ({"is_loaded": False}, "ada Cyd dan"),
        ({"is_pinned": True}, "dan"),
        ({"is_pinned": False}, "ada bob Cyd"),
        ({"name": "*A*"}, "ada Cyd dan"),
        ({"name": "cyd:1"}, "Cyd"),
        ({"name": "FAM?LY"}, "Cyd"),
        ({"name": "d"}, ""),
        ({"status": Status.READY, "is_loaded": False, "name": "?a*"}, "dan"),
    ],
)
def test_each_wish_leaves_out_what_does_not_meet_it(wanted: dict[str, Any], found: str) -> None:
    assert names(**wanted) == found


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("id", "ada bob Cyd dan"),
        ("-id", "dan Cyd bob ada"),
        ("size_bytes", "bob Cyd dan ada"),
        ("-size_bytes", "ada Cyd dan bob"),
        ("parameters", "Cyd dan bob ada"),
        ("-parameters", "bob dan Cyd ada"),
        ("-context_tokens", "bob Cyd dan ada"),
    ],
)
def test_models_are_sorted_up_or_down_and_what_is_unknown_comes_last(sort: str, found: str) -> None:
    assert names(sort=SortKey(sort)) == found


def test_nothing_wanted_is_every_model_as_it_is() -> None:
    assert EVERY_MODEL.of(MODELS, MARKS) == MODELS


# -- in a request


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    with guarded(Path(tmp_path_factory.mktemp("home"))) as app:
        yield app


@pytest.mark.parametrize(
    ("query", "param", "allowed"),
    [
        ("task=cooking", "task", "'chat'"),
        ("status=fine", "status", "'missing'"),
        ("sort=age", "sort", "'-size_bytes'"),
        ("source=web", "source", "'foundry'"),
        ("execution_provider=tpu", "execution_provider", "'cuda'"),
        ("loaded=perhaps", "loaded", "boolean"),
        ("limit=0", "limit", "greater than or equal to 1"),
        ("offset=-1", "offset", "greater than or equal to 0"),
        ("colour=red", "colour", "not supported"),
    ],
)
def test_what_cannot_be_wanted_is_a_400_that_says_what_can(app: FastAPI, query: str, param: str, allowed: str) -> None:
    response = call(app, "GET", f"/slmreg/models?{query}", HOST)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert allowed in response.json()["error"]["message"]


@pytest.mark.parametrize("query", ["", "?status=ready", "?sort=-id&limit=1"])
def test_the_answer_has_the_same_shape_whatever_is_wanted(app: FastAPI, query: str) -> None:
    response = call(app, "GET", f"/slmreg/models{query}", HOST)
    assert response.json() == {"data": [], "total": 0, "next": None}
