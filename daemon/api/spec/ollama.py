"""Ollama's routes."""

from __future__ import annotations

from daemon.api.spec.described import ANSWERED, LINES, NAMED, Described, Part
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
    record,
    ref,
    table,
)

_NOT_OFFERED = (404, 501)
_HEAD: dict[str, Schema] = {"model": TEXT, "created_at": TEXT, "done": TRUTH}
# Not of what only loads or unloads a model.
_NUMBERS: dict[str, Schema] = {
    "done_reason": among("stop", "length", "load", "unload"),
    "total_duration": WHOLE,
    "load_duration": WHOLE,
    "prompt_eval_count": WHOLE,
    "prompt_eval_duration": WHOLE,
    "eval_count": WHOLE,
    "eval_duration": WHOLE,
    "logprobs": many(table(ANYTHING)),
}
_DETAILS = record(
    {
        "parent_model": TEXT,
        "format": TEXT,
        "family": TEXT,
        "families": many(TEXT),
        "parameter_size": TEXT,
        "quantization_level": TEXT,
    }
)
_CARD: dict[str, Schema] = {"name": TEXT, "model": TEXT, "size": WHOLE, "digest": TEXT, "details": _DETAILS}
_MESSAGE = record({"role": among("assistant"), "content": TEXT}, optional={"thinking": TEXT, "tool_calls": many({})})
_LINES_SAY = "an object a line; the last one has `done`, or an `error`"

PART = Part(
    {
        "POST /api/chat": Described(
            answer=ref("OllamaChat"),
            asks={"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": False},
            stream=LINES,
            says=_LINES_SAY,
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /api/generate": Described(
            answer=ref("OllamaText"),
            asks={"model": "auto", "prompt": "Hello", "stream": False},
            stream=LINES,
            says=_LINES_SAY,
            errors=ANSWERED,
            takes_wishes=True,
        ),
        "POST /api/embed": Described(
            answer=record(
                {"model": TEXT, "embeddings": many(many(NUMBER))},
                optional={"total_duration": WHOLE, "prompt_eval_count": WHOLE},
            ),
            asks={"model": "auto", "input": ["a text", "another one"]},
            errors=ANSWERED,
        ),
        "POST /api/embeddings": Described(
            answer=record({"embedding": many(NUMBER)}),
            asks={"model": "auto", "prompt": "a text"},
            errors=ANSWERED,
        ),
        "GET /api/version": Described(
            answer=record({"version": TEXT, "slmreg": TEXT}), example={"version": "0.12.11", "slmreg": "0.1.0"}
        ),
        "GET /api/tags": Described(answer=record({"models": many(ref("OllamaModel"))})),
        "POST /api/show": Described(
            answer=record(
                {
                    "modelfile": TEXT,
                    "parameters": TEXT,
                    "template": TEXT,
                    "details": _DETAILS,
                    "model_info": table(ANYTHING),
                    "capabilities": many(TEXT),
                    "modified_at": TEXT,
                },
                optional={"license": maybe(TEXT), "system": TEXT, "messages": many(table(ANYTHING))},
            ),
            asks={"model": "phi-4-mini"},
            errors=NAMED,
        ),
        "GET /api/ps": Described(
            answer=record(
                {
                    "models": many(
                        record({**_CARD, "expires_at": TEXT, "size_vram": WHOLE, "context_length": maybe(WHOLE)})
                    )
                }
            )
        ),
        "POST /api/create": Described(
            answer=record({"status": TEXT}),
            example={"status": "success"},
            asks={"model": "mario", "from": "phi-4-mini", "system": "You are Mario.", "stream": False},
            stream=LINES,
            says="the same, as a line",
            errors=NAMED,
        ),
        "POST /api/copy": Described(answer=None, asks={"source": "mario", "destination": "luigi"}, errors=NAMED),
        "DELETE /api/delete": Described(answer=None, asks={"model": "luigi"}, errors=NAMED),
        "POST /api/pull": Described(answer=table(ANYTHING), errors=_NOT_OFFERED),
        "POST /api/push": Described(answer=table(ANYTHING), errors=_NOT_OFFERED),
        "POST /api/blobs/{digest}": Described(answer=table(ANYTHING), errors=_NOT_OFFERED),
    },
    {
        "OllamaChat": record({**_HEAD, "message": _MESSAGE}, optional=_NUMBERS),
        "OllamaText": record({**_HEAD, "response": TEXT}, optional={**_NUMBERS, "thinking": TEXT}),
        "OllamaModel": record({**_CARD, "modified_at": TEXT}),
    },
)
