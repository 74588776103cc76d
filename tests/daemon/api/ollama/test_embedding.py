"""/api/embed and /api/embeddings: what reaches the worker, and what comes back, key by key."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from daemon.pool.protocol import Embedded
from tests.daemon.api.ollama.served import Ollama, ollama
from tests.fakes import on_loop

VECTORS = [[1.0, 0.0], [0.0, -1.0]]


def embedding(served: Ollama, vectors: list[list[float]]) -> Ollama:
    coded = base64.b64encode(np.array(vectors, "<f4").tobytes()).decode()
    served.bench.launcher.script = (Embedded(request_id="r", vectors=coded, dimensions=2, prompt_tokens=6),)
    return served


@on_loop
async def test_every_text_gets_its_vector() -> None:
    async with ollama() as plain:
        served = embedding(plain, VECTORS)
        response = await served.post("embed", {"model": "a", "input": ["x", "y"], "dimensions": 2})
        body = response.json()
        assert body.pop("total_duration") >= 0
        assert body == {"model": "a:1", "embeddings": VECTORS, "prompt_eval_count": 6}
        assert response.headers["x-slmreg-model"] == "a:1"
        assert (served.embedded.inputs, served.embedded.dimensions) == (["x", "y"], 2)


@on_loop
async def test_the_older_route_has_one_vector_and_nothing_else() -> None:
    async with ollama() as plain:
        served = embedding(plain, VECTORS[:1])
        assert (await served.post("embeddings", {"model": "a", "prompt": "x"})).json() == {"embedding": VECTORS[0]}
        assert served.embedded.is_truncating


@pytest.mark.parametrize(
    ("fields", "is_truncating"), [({}, True), ({"truncate": True}, True), ({"truncate": False}, False)]
)
@on_loop
async def test_a_long_text_is_cut_unless_that_is_not_wanted(fields: dict[str, Any], is_truncating: bool) -> None:
    async with ollama() as plain:
        served = embedding(plain, VECTORS[:1])
        assert (await served.post("embed", {"model": "a", "input": "x", **fields})).status_code == 200
        assert served.embedded.is_truncating is is_truncating


@pytest.mark.parametrize(
    ("path", "fields", "empty"),
    [
        ("embed", {"input": ""}, {"model": "a", "embeddings": []}),
        ("embed", {"input": []}, {"model": "a", "embeddings": []}),
        ("embeddings", {}, {"embedding": []}),
    ],
)
@on_loop
async def test_without_a_text_the_model_is_loaded(path: str, fields: dict[str, Any], empty: dict[str, Any]) -> None:
    async with ollama() as served:
        assert (await served.post(path, {"model": "a", **fields})).json() == empty
        (session,) = served.bench.pool.snapshot()
        assert (session.model_id, served.everything_asked) == ("a:1", [])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"input": [3]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"options": {"creativity": 1}}, "creativity"),
        ({"options": {"num_ctx": 4096}}, "num_ctx"),
        ({"novelty": 1}, "novelty"),
    ],
)
@on_loop
async def test_what_cannot_be_honoured_is_a_400_that_names_it(fields: dict[str, Any], reason: str) -> None:
    async with ollama() as plain:
        served = embedding(plain, VECTORS[:1])
        response = await served.post("embed", {"model": "a", "input": "x", **fields})
        assert (response.status_code, set(response.json())) == (400, {"error", "code"})
        assert reason in response.json()["error"]
