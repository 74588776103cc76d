"""OpenAI's routes: chats, older completions, responses, embeddings, audio, models."""

from __future__ import annotations

from daemon.api.spec.described import ANSWERED, EVENTS, NAMED, Described, Part
from daemon.api.spec.schemas import (
    ANYTHING,
    NUMBER,
    TEXT,
    TRUTH,
    WHOLE,
    Schema,
    among,
    many,
    maybe,
    page_of,
    record,
    ref,
    table,
)

_HELLO = [{"role": "user", "content": "What is an execution provider?"}]
_FINISH = among("stop", "length", "tool_calls")

SCHEMAS: dict[str, Schema] = {
    "Usage": record(
        {
            "prompt_tokens": WHOLE,
            "completion_tokens": WHOLE,
            "total_tokens": WHOLE,
            "prompt_tokens_details": record({"cached_tokens": WHOLE}),
            "completion_tokens_details": record({"reasoning_tokens": WHOLE}),
        }
    ),
    "AssistantMessage": record(
        {"role": among("assistant"), "content": maybe(TEXT), "refusal": maybe(TEXT)},
        optional={
            "reasoning_content": TEXT,
            "tool_calls": many(
                record(
                    {
                        "id": TEXT,
                        "type": among("function"),
                        "function": record({"name": TEXT, "arguments": TEXT}, says="`arguments` is JSON as a text."),
                    }
                )
            ),
        },
    ),
    "ChatCompletion": record(
        {
            "id": TEXT,
            "object": among("chat.completion"),
            "created": WHOLE,
            "model": TEXT,
            "choices": many(
                record(
                    {
                        "index": WHOLE,
                        "message": ref("AssistantMessage"),
                        "logprobs": maybe(ref("LogProbabilities")),
                        "finish_reason": _FINISH,
                    }
                )
            ),
            "usage": ref("Usage"),
        },
        says="`model` is the one that answered, whatever was asked for.",
    ),
    "LogProbabilities": record(
        {
            "content": many(
                record(
                    {
                        "token": TEXT,
                        "bytes": many(WHOLE),
                        "logprob": NUMBER,
                        "top_logprobs": many(record({"token": TEXT, "bytes": many(WHOLE), "logprob": NUMBER})),
                    }
                )
            )
        }
    ),
    "TextCompletion": record(
        {
            "id": TEXT,
            "object": among("text_completion"),
            "created": WHOLE,
            "model": TEXT,
            "choices": many(
                record({"text": TEXT, "index": WHOLE, "logprobs": maybe(table(ANYTHING)), "finish_reason": _FINISH})
            ),
            "usage": ref("Usage"),
        }
    ),
    "Response": record(
        {
            "id": TEXT,
            "object": among("response"),
            "created_at": WHOLE,
            "status": among("completed", "incomplete", "failed", "in_progress"),
            "model": TEXT,
            "output": many(record({"id": TEXT, "type": among("message", "reasoning", "function_call")})),
            "error": maybe(record({"code": TEXT, "message": TEXT})),
            "incomplete_details": maybe(record({"reason": TEXT})),
            "previous_response_id": maybe(TEXT),
            "store": TRUTH,
            "usage": maybe(record({"input_tokens": WHOLE, "output_tokens": WHOLE, "total_tokens": WHOLE})),
            "metadata": table(TEXT),
        }
    ),
    "Embeddings": record(
        {
            "object": among("list"),
            "model": TEXT,
            "data": many(
                record(
                    {
                        "object": among("embedding"),
                        "index": WHOLE,
                        "embedding": {"anyOf": [many(NUMBER), TEXT]},
                    },
                    says="A list of numbers, or little-endian float32 in base64.",
                )
            ),
            "usage": record({"prompt_tokens": WHOLE, "total_tokens": WHOLE}),
        }
    ),
    "OpenAIModel": record(
        {"id": TEXT, "object": among("model"), "created": WHOLE, "owned_by": TEXT, "slmreg": table(ANYTHING)},
        says="`slmreg` is what we know of the model, or the preset that it is.",
    ),
    "Transcription": record(
        {
            "text": TEXT,
            "usage": record({"type": among("tokens"), "input_tokens": WHOLE, "output_tokens": WHOLE}),
        }
    ),
}

_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 9,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
_CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "phi-4-mini:5",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "What runs a model's operators.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
}
_AUDIO: dict[str, Schema] = {
    "file": {"type": "string", "format": "binary", "description": "WAV, FLAC or MP3"},
    "model": TEXT,
    "prompt": TEXT,
    "response_format": among("json", "text"),
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "policy": among("fast", "balanced", "quality"),
}
_KEPT: Schema = record(
    {"object": among("list"), "data": many(table(ANYTHING)), "first_id": maybe(TEXT), "last_id": maybe(TEXT)},
    optional={"has_more": TRUTH},
)
_MODELS: Schema = record({"object": among("list"), "data": many(ref("OpenAIModel"))})

PART = Part(
    {
        "POST /v1/chat/completions": Described(
            answer=ref("ChatCompletion"),
            example=_CHAT,
            asks={"model": "auto", "messages": _HELLO},
            stream=EVENTS,
            says="`chat.completion.chunk` objects, then `[DONE]`; an error is the last event, and no `[DONE]` follows",
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /v1/completions": Described(
            answer=ref("TextCompletion"),
            asks={"model": "auto", "prompt": "def add(a, b):", "max_tokens": 16},
            stream=EVENTS,
            says="`text_completion` objects, then `[DONE]`",
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /v1/responses": Described(
            answer=ref("Response"),
            asks={"model": "auto", "input": "What is an execution provider?"},
            stream=EVENTS,
            says="events named by their `type`, from `response.created` to `response.completed`",
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /v1/responses/input_tokens": Described(
            answer=record({"object": among("response.input_tokens"), "input_tokens": WHOLE}),
            example={"object": "response.input_tokens", "input_tokens": 12},
            asks={"model": "auto", "input": "What is an execution provider?"},
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "GET /v1/responses/{response_id}": Described(answer=ref("Response"), errors=NAMED),
        "DELETE /v1/responses/{response_id}": Described(
            answer=record({"id": TEXT, "object": among("response"), "deleted": TRUTH}), errors=NAMED
        ),
        "POST /v1/responses/{response_id}/cancel": Described(answer=ref("Response"), errors=NAMED),
        "GET /v1/responses/{response_id}/input_items": Described(answer=_KEPT, errors=NAMED),
        "POST /v1/embeddings": Described(
            answer=ref("Embeddings"),
            asks={"model": "auto", "input": ["a text", "another one"]},
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /v1/audio/transcriptions": Described(
            answer=ref("Transcription"),
            stream=EVENTS,
            says="`transcript.text.delta` events, then `transcript.text.done` and `[DONE]`",
            form={**_AUDIO, "language": TEXT, "stream": TRUTH},
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /v1/audio/translations": Described(
            answer=ref("Transcription"), form=_AUDIO, errors=ANSWERED, takes_wishes=True
        ),
        "GET /v1/models": Described(answer={"anyOf": [_MODELS, page_of("AnthropicModel")]}),
        "GET /v1/models/{reference}": Described(
            answer={"anyOf": [ref("OpenAIModel"), ref("AnthropicModel")]}, errors=NAMED
        ),
    },
    SCHEMAS,
)
