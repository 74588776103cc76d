"""Vectors of texts through the official OpenAI client, from real encoders."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from registry.store import Registry
from scripts.model_factory.text_encoder import ENCODER_TOKENS, write_text_encoder
from tests.e2e.conftest import Home, Served, put, wait_for

TEXTS = ["one", "a rather longer text", "two words"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("embeddings")
    put(tiny, root / "models" / "talker")
    write_text_encoder(root / "models" / "encoder")
    with Registry.open(root / "home" / "registry.db") as registry:
        registry.add_root(root / "models")
    with ExitStack() as stack:
        yield Home(root / "home", root / "models", stack).start(max_context_tokens=1024)


def test_every_text_gets_its_vector_in_order(served: Served) -> None:
    answer = served.openai.embeddings.create(model="encoder", input=TEXTS)
    assert (answer.object, answer.model, len(answer.data)) == ("list", "encoder:0", 3)
    assert [(each.object, each.index) for each in answer.data] == [("embedding", index) for index in range(3)]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(len(text) + 2 for text in TEXTS)
    for text, each in zip(TEXTS, answer.data, strict=True):
        (alone,) = served.openai.embeddings.create(model="encoder", input=text).data
        assert len(each.embedding) == 64
        assert math.isclose(math.hypot(*each.embedding), 1, abs_tol=1e-5)
        assert np.allclose(alone.embedding, each.embedding, atol=1e-5)


def test_numbers_and_base64_hold_the_same(served: Served) -> None:
    body = {"model": "encoder", "input": ["one", "two"]}
    numbers = served.post("/v1/embeddings", body).json()
    coded = served.post("/v1/embeddings", {**body, "encoding_format": "base64"}).json()
    for one, other in zip(numbers["data"], coded["data"], strict=True):
        assert one["embedding"] == np.frombuffer(base64.b64decode(other["embedding"]), "<f4").tolist()


def test_tokens_stand_for_their_text(served: Served) -> None:
    by_text = served.openai.embeddings.create(model="encoder", input="one").data[0].embedding
    for tokens in (list(b"one"), [list(b"one")]):
        (only,) = served.openai.embeddings.create(model="encoder", input=tokens).data
        assert only.embedding == by_text


def test_fewer_dimensions_are_the_first_ones_with_the_length_1(served: Served) -> None:
    whole = served.openai.embeddings.create(model="encoder", input="one").data[0].embedding
    short = served.openai.embeddings.create(model="encoder", input="one", dimensions=8).data[0].embedding
    assert np.allclose(short, np.array(whole[:8]) / math.hypot(*whole[:8]), atol=1e-5)


def test_auto_is_a_model_for_embeddings_and_says_which(served: Served) -> None:
    response = served.post("/v1/embeddings", {"model": "auto", "input": "one"})
    assert response.json()["model"] == response.headers["x-slmreg-model"] == "encoder:0"
    assert response.headers["x-slmreg-task"] == "embeddings"
    kept = served.get(f"/slmreg/selections/{response.headers['x-slmreg-selection']}")
    assert kept["chosen"] == "encoder:0"


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"input": ""}, 400, "invalid_request", "input"),
        ({"input": []}, 400, "invalid_request", "input"),
        ({"input": ["x"] * 2049}, 400, "invalid_request", "input"),
        ({"input": ["fine", "x" * ENCODER_TOKENS]}, 400, "context_length_exceeded", "input"),
        ({"input": [5, 999]}, 400, "invalid_request", "input"),
        ({"input": "x", "dimensions": 65}, 400, "invalid_request", "dimensions"),
        ({"input": "x", "dimensions": 0}, 400, "invalid_request", "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, 400, "invalid_request", "encoding_format"),
        ({"input": "x", "temperature": 1}, 400, "unsupported_parameter", "temperature"),
        ({"input": "x", "model": "talker"}, 409, "model_not_usable", None),
        ({"input": "x", "model": "auto:chat"}, 400, "invalid_request", "model"),
        ({"input": "x", "model": "nobody"}, 404, "model_not_found", None),
    ],
)
def test_what_cannot_be_honoured_is_an_error_that_names_it(
    served: Served, body: dict[str, object], status: int, code: str, param: str | None
) -> None:
    response = served.post("/v1/embeddings", {"model": "encoder", **body})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert (error["param"] or "").startswith(param or "")


def test_a_chat_with_an_encoder_says_what_it_can_do(served: Served) -> None:
    with pytest.raises(openai.APIStatusError, match=r"cannot answer a chat\. It can do embeddings"):
        served.openai.chat.completions.create(model="encoder", messages=[{"role": "user", "content": "hi"}])


def test_a_client_that_leaves_does_not_keep_the_model_busy(served: Served) -> None:
    body = {"model": "encoder", "input": ["x" * 120] * 2048}
    served.post("/v1/embeddings", {"model": "encoder", "input": "x"})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/embeddings", json=body, timeout=httpx.Timeout(10, read=0.05))
    wait_for(lambda: served.sessions()["encoder:0"]["active"] == 0, "the session to be free", timeout_s=15)


def test_an_encoder_can_be_loaded_before_it_is_asked(served: Served) -> None:
    served.post("/slmreg/unload", {"model": "encoder"})
    assert served.post("/slmreg/load", {"model": "encoder"}).json()["state"] == "ready"


def test_an_encoder_that_is_copied_into_a_root_can_be_asked_soon_after(home: Home) -> None:
    served = home.start()
    ask = {"model": "auto", "input": "one"}
    assert served.post("/v1/embeddings", ask).status_code == 503
    write_text_encoder(home.models / "late")
    wait_for(lambda: served.post("/v1/embeddings", ask).status_code == 200, "the encoder to be found")
    assert served.post("/v1/embeddings", ask).json()["model"] == "late:0"
