"""Anthropic's routes."""

from __future__ import annotations

from daemon.api.spec.described import ANSWERED, EVENTS, Described, Part
from daemon.api.spec.schemas import ANYTHING, TEXT, WHOLE, among, many, maybe, record, ref, table

_HELLO = [{"role": "user", "content": "What is an execution provider?"}]

PART = Part(
    {
        "POST /v1/messages": Described(
            answer=ref("Message"),
            example={
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "phi-4-mini:5",
                "content": [{"type": "text", "text": "What runs a model's operators."}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 12, "output_tokens": 9, "cache_read_input_tokens": 0},
            },
            asks={"model": "auto", "max_tokens": 256, "messages": _HELLO},
            stream=EVENTS,
            says="events named by their `type`, from `message_start` to `message_stop`",
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /v1/messages/count_tokens": Described(
            answer=record({"input_tokens": WHOLE}),
            example={"input_tokens": 12},
            asks={"model": "auto", "messages": _HELLO},
            errors=ANSWERED,
            takes_wishes=True,
        ),
    },
    {
        "AnthropicModel": record(
            {
                "type": among("model"),
                "id": TEXT,
                "display_name": TEXT,
                "created_at": TEXT,
                "lifecycle": among("active"),
                "max_input_tokens": maybe(WHOLE),
                "max_tokens": maybe(WHOLE),
            },
            says="What a client gets that says which `anthropic-version` it speaks.",
        ),
        "Message": record(
            {
                "id": TEXT,
                "type": among("message"),
                "role": among("assistant"),
                "model": TEXT,
                "content": many({**table(ANYTHING), "properties": {"type": among("text", "thinking", "tool_use")}}),
                "stop_reason": maybe(TEXT),
                "stop_sequence": maybe(TEXT),
                "usage": record({"input_tokens": WHOLE, "output_tokens": WHOLE, "cache_read_input_tokens": WHOLE}),
            }
        ),
    },
)
