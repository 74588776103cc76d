"""``model: "name@adapter"`` from the official client to a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from scripts.model_factory.lora import take_adapters, write_head_adapter
from tests.e2e.conftest import Home, put

ASK: Any = [{"role": "user", "content": "hello"}]


def test_a_request_chooses_an_adapter_behind_the_name_of_the_model(home: Home, tiny: Path) -> None:
    folder = take_adapters(put(tiny, home.models / "writer"))
    write_head_adapter(folder / "adapters" / "poet.onnx_adapter", folder, seed=1)
    served = home.start(max_context_tokens=512)

    def said(model: str) -> tuple[str, str]:
        answer = served.openai.chat.completions.create(model=model, messages=ASK, temperature=0, max_tokens=16)
        return answer.model, answer.choices[0].message.content

    name, own = said("writer")
    assert name == "writer:0"
    name, adapted = said("writer@poet")
    assert name == "writer:0@poet"
    assert adapted != own
    assert said("WRITER:0@poet")[1] == adapted
    assert said("writer")[1] == own
    assert list(served.sessions()) == ["writer:0"]

    for asked, full in (("writer", "writer:0"), ("writer@poet", "writer:0@poet"), ("WRITER:0@poet", "writer:0@poet")):
        shown = served.openai.models.retrieve(asked)
        assert shown.id == full
        assert served.get(f"/v1/models/{asked}")["slmreg"]["id"] == "writer:0"
    for asked, code in (("writer@nobody", "adapter_not_found"), ("nobody@poet", "model_not_found")):
        missing = httpx.get(f"{served.url}/v1/models/{asked}", timeout=30)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, code)

    response = served.post("/v1/chat/completions", {"model": "writer@poet", "messages": ASK, "max_tokens": 1})
    assert response.headers["x-slmreg-model"] == "writer:0@poet"
    for model, code in (("writer@nobody", "adapter_not_found"), ("nobody@poet", "model_not_found")):
        response = served.post("/v1/chat/completions", {"model": model, "messages": ASK})
        assert (response.status_code, response.json()["error"]["code"]) == (404, code)
    assert "poet" in served.post("/v1/chat/completions", {"model": "writer@x", "messages": ASK}).text
