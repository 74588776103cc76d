"""/api/create, /api/copy, /api/delete: presets over a real registry; and what is refused there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from daemon.api.errors import install_error_handlers
from daemon.api.ollama.presets import creating_router
from daemon.presets import Presets
from registry.store import Registry

CREATE: dict[str, Any] = {"model": "mario", "from": "phi", "system": "Be Mario.", "parameters": {"seed": 1}}


@pytest.fixture
def presets(tmp_path: Path) -> Iterator[Presets]:
    with Registry.open(tmp_path / "registry.db") as registry:
        yield Presets(registry, lambda name: name == "phi")


@pytest.fixture
def client(presets: Presets) -> TestClient:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(creating_router(presets))
    return TestClient(app)


def delete(client: TestClient, body: dict[str, Any]) -> Any:
    return client.request("DELETE", "/api/delete", json=body)


def test_a_preset_is_made_with_a_line_for_its_success_or_whole(client: TestClient, presets: Presets) -> None:
    streamed = client.post("/api/create", json={**CREATE, "messages": [{"role": "user", "content": "hi"}]})
    assert (streamed.text, streamed.headers["content-type"]) == ('{"status":"success"}\n', "application/x-ndjson")
    made = presets.get("mario")
    assert (made.base, made.system, made.parameters) == ("phi", "Be Mario.", {"seed": 1})
    assert made.messages == ({"role": "user", "content": "hi"},)
    assert client.post("/api/create", json={**CREATE, "stream": False}).json() == {"status": "success"}


def test_a_copy_is_another_name_for_the_same(client: TestClient, presets: Presets) -> None:
    client.post("/api/create", json=CREATE)
    for source, destination in (("mario", "luigi:latest"), ("phi", "my-phi")):
        response = client.post("/api/copy", json={"source": source, "destination": destination})
        assert (response.status_code, response.text) == (200, "")
    assert presets.get("luigi").system == "Be Mario."
    assert (presets.get("my-phi").base, presets.get("my-phi").system) == ("phi", "")


@pytest.mark.parametrize("key", ["model", "name"])
def test_a_preset_is_deleted_by_new_and_old_clients(client: TestClient, presets: Presets, key: str) -> None:
    client.post("/api/create", json=CREATE)
    response = delete(client, {key: "mario:latest"})
    assert (response.status_code, response.text) == (200, "")
    assert presets.all() == ()
    assert delete(client, {key: "mario"}).status_code == 404


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from": None}, "'from' is missing"),
        ({"files": {"a.gguf": "sha256:x"}}, "found on the disk"),
        ({"adapters": {"a": "sha256:x"}}, "model@adapter"),
        ({"quantize": "q4_K_M"}, "'quantize' is not supported"),
        ({"template": "{{ .Prompt }}"}, "'template' is not supported"),
        ({"license": "MIT"}, "'license' is not supported"),
        ({"modelfile": "FROM phi"}, "send its lines as 'from'"),
        ({"parameters": {"mirostat": 1}}, "'mirostat'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages of a preset"),
        ({"model": "phi"}, "already a model"),
        ({"novelty": 1}, "'novelty' is not supported"),
    ],
)
def test_what_cannot_be_a_preset_is_a_400_that_says_why(
    client: TestClient, presets: Presets, fields: dict[str, Any], reason: str
) -> None:
    response = client.post("/api/create", json={**CREATE, **fields})
    assert (response.status_code, set(response.json())) == (400, {"error", "code"})
    assert reason in response.json()["error"]
    assert presets.all() == ()


@pytest.mark.parametrize("path", ["pull", "push", "blobs/sha256:29fd"])
def test_nothing_is_pulled_pushed_or_uploaded(client: TestClient, path: str) -> None:
    response = client.post(f"/api/{path}", json={"model": "phi"})
    assert (response.status_code, set(response.json())) == (501, {"error", "code"})
    assert "on the disk" in response.json()["error"]
