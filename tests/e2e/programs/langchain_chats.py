"""LangChain: ChatOpenAI and ChatOllama ask the daemon whose address is given, and must be told the same."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

URL = sys.argv[1]
QUESTION = "Who are you?"


class Paint(BaseModel):
    """Bounded, so that also a model that talks nonsense comes to an end."""

    colour: Literal["red", "green", "blue"]
    is_dry: bool


@tool  # type: ignore[untyped-decorator]
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}."


def told(chat: Any) -> dict[str, Any]:
    whole = chat.invoke(QUESTION)
    pieces = list(chat.stream(QUESTION))
    asking = chat.bind_tools([get_weather]).invoke("What is the weather in Paris?")
    return {
        "text": whole.content,
        "streamed": "".join(piece.content for piece in pieces),
        "pieces": len(pieces),
        "usage": whole.usage_metadata,
        "calls": [[call["name"], call["args"]] for call in asking.tool_calls],
        "structured": chat.with_structured_output(Paint, method="json_schema").invoke(QUESTION).model_dump(),
    }


openai: dict[str, Any] = {"base_url": f"{URL}/v1", "api_key": "none", "model": "talker", "max_retries": 0}
by_openai = ChatOpenAI(**openai, temperature=0)
(forced,) = by_openai.bind_tools([get_weather], tool_choice="get_weather").invoke("Hi").tool_calls
paint = by_openai.with_structured_output(Paint, method="function_calling").invoke("Hi")
(block,) = ChatOpenAI(**openai, temperature=0, use_responses_api=True).invoke(QUESTION).content
print(
    json.dumps(
        {
            "openai": told(by_openai),
            "ollama": told(ChatOllama(base_url=URL, model="talker", temperature=0)),
            "forced": forced["name"],
            "structured by a call": paint.model_dump(),
            "by responses": block["text"],
        }
    )
)
