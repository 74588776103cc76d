"""LiteLLM: each of its prefixes that mean an API of ours."""

from __future__ import annotations

import json
import sys
from typing import Any

import litellm

URL = sys.argv[1]
ASK: list[dict[str, str]] = [{"role": "user", "content": "Who are you?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PREFIXES: dict[str, dict[str, Any]] = {
    "openai": {"api_base": f"{URL}/v1", "api_key": "none"},
    "ollama_chat": {"api_base": URL},
    "anthropic": {"api_base": URL, "api_key": "none", "max_tokens": 200},
}


def told(prefix: str, where: dict[str, Any]) -> dict[str, Any]:
    def ask(messages: list[dict[str, str]], **fields: Any) -> Any:
        return litellm.completion(
            model=f"{prefix}/talker", messages=messages, temperature=0, num_retries=0, **where, **fields
        )

    pieces = [piece.choices[0].delta.content or "" for piece in ask(ASK, stream=True)]
    asking = ask([{"role": "user", "content": "What is the weather in Paris?"}], tools=[WEATHER])
    calls = asking.choices[0].message.tool_calls or []
    return {
        "text": ask(ASK).choices[0].message.content,
        "streamed": "".join(pieces),
        "pieces": len([piece for piece in pieces if piece]),
        "calls": [[call.function.name, json.loads(call.function.arguments)] for call in calls],
    }


print(json.dumps({prefix: told(prefix, where) for prefix, where in PREFIXES.items()}))
