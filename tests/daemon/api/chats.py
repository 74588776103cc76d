"""Chat requests as clients send them."""

from __future__ import annotations

from typing import Any

from daemon.api.chat import ChatRequest
from daemon.pool.protocol import Generate

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


def a_chat(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({**HI, **fields})


def question(**fields: Any) -> Generate:
    """What the worker is asked."""
    return a_chat(**fields).as_generate(max_messages=4)


def a_tool(name: str = "f", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}
