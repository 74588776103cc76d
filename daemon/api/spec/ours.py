"""The routes of our own, under ``/slmreg``."""

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

_FOUND = (404,)
_STATUS = among("ready", "partial", "invalid", "missing", "blocked")
_SESSION: dict[str, Schema] = {
    "id": TEXT,
    "state": among("unloaded", "loading", "ready", "draining", "failed"),
    "pid": maybe(WHOLE),
    "resident_bytes": WHOLE,
    "active": WHOLE,
    "queued": WHOLE,
    "device": maybe(TEXT),
    "threads": maybe(WHOLE),
    "engine": maybe(TEXT),
    "idle_s": NUMBER,
    "expires_s": maybe(NUMBER),
    "pinned": TRUTH,
    "warm_for": many(TEXT),
}
_LEVELS = record({"levels": table(among("debug", "info", "warning", "error"))})
_TUNED: dict[str, Schema] = {
    "threads": WHOLE,
    "prefill_chunk_tokens": maybe(WHOLE),
    "max_concurrent": maybe(WHOLE),
    "machine": TEXT,
    "runtime": TEXT,
    "tuned_at": TEXT,
}
# Tokens per second, by requests at the same time and by tokens of a prompt in one call.
_TRIAL = record({"threads": WHOLE, "answering": table(NUMBER), "reading": table(NUMBER)})
_CHOICE: dict[str, Schema] = {
    "task": TEXT,
    "chosen": maybe(TEXT),
    "device": maybe(TEXT),
    "context_tokens": maybe(WHOLE),
    "ranking": many(
        record(
            {
                "id": TEXT,
                "utility": NUMBER,
                "terms": table(NUMBER),
                "need_bytes": WHOLE,
                "available_bytes": WHOLE,
                "tokens_per_second": maybe(NUMBER),
                "ttft_s": maybe(NUMBER),
                "evidence": table(ANYTHING),
            }
        )
    ),
    "rejected": many(record({"id": TEXT, "code": TEXT, "message": TEXT})),
    "pinned": TRUTH,
    "hardware": ref("Hardware"),
}
_DECISION: dict[str, Schema] = {
    "id": TEXT,
    "at": TEXT,
    "model": TEXT,
    "task": TEXT,
    "task_because": TEXT,
    "chosen": maybe(TEXT),
    "reason": TEXT,
}

SCHEMAS: dict[str, Schema] = {
    "Setting": record(
        {
            "key": TEXT,
            "value": ANYTHING,
            "default": ANYTHING,
            "origin": among("default", "config.toml", "environment", "flag"),
            "where": maybe(TEXT),
            "takes_effect": among("now", "load", "restart"),
            "needs_restart": TRUTH,
            "description": maybe(TEXT),
        },
        optional={"waiting": ANYTHING},
        says="`waiting` is the value that takes a restart.",
    ),
    "Model": record(
        {
            "id": TEXT,
            "name": TEXT,
            "version": TEXT,
            "alias": TEXT,
            "tasks": many(TEXT),
            "family": TEXT,
            "parameters": maybe(WHOLE),
            "precision": TEXT,
            "execution_provider": TEXT,
            "device": TEXT,
            "size_bytes": WHOLE,
            "context_tokens": WHOLE,
            "path": TEXT,
            "source": TEXT,
            "status": _STATUS,
            "problems": many(record({"code": TEXT, "message": TEXT, "file": maybe(TEXT)})),
            "loaded": TRUTH,
            "pinned_for": many(TEXT),
            "measured": table(ANYTHING),
        }
    ),
    "Problem": record({"path": TEXT, "code": TEXT, "message": TEXT, "file": maybe(TEXT), "status": _STATUS}),
    "Root": record(
        {"path": TEXT, "source": TEXT, "exists": TRUTH, "enabled": TRUTH, "models": WHOLE, "problems": WHOLE}
    ),
    "Hardware": record(
        {
            "cpu": record({"name": TEXT, "physical_cores": WHOLE, "logical_cores": WHOLE, "usable_cores": WHOLE}),
            "memory": record({"total_bytes": WHOLE, "available_bytes": WHOLE, "limit_bytes": maybe(WHOLE)}),
            "accelerators": many(table(ANYTHING)),
            "execution_providers": many(TEXT),
            "probes": table(maybe(NUMBER)),
        }
    ),
    "Selection": record(_CHOICE, says="The ledger of a choice: `terms` are in quality points and add up to `utility`."),
    "Decision": record(_DECISION),
    "RecordedSelection": record({**_CHOICE, **_DECISION}),
    "Pin": record(
        {
            "task": TEXT,
            "model": TEXT,
            "waiting": TRUTH,
            "pattern": maybe(TEXT),
            "fallback": among("error", "auto"),
            "serves": maybe(TEXT),
            "problem": maybe(TEXT),
        }
    ),
    "Evaluation": record(
        {
            "model": TEXT,
            "task": TEXT,
            "kind": TEXT,
            "rating": maybe(NUMBER),
            "passed": maybe(WHOLE),
            "items": WHOLE,
            "score": NUMBER,
            "thinking": maybe(TRUTH),
            "notes": TEXT,
            "evaluated_at": TEXT,
        }
    ),
    "Preset": record(
        {
            "name": TEXT,
            "from": TEXT,
            "means": maybe(TEXT),
            "system": TEXT,
            "parameters": table(ANYTHING),
            "messages": many(table(ANYTHING)),
            "modified_at": maybe(TEXT),
        }
    ),
    "Session": record(_SESSION),
    "LoadedSession": record({**_SESSION, "warning": maybe(TEXT)}),
    "DaemonStatus": record(
        {
            "running": TRUTH,
            "pid": WHOLE,
            "version": TEXT,
            "models": WHOLE,
            "problems": WHOLE,
            "sessions": WHOLE,
            "uptime_s": NUMBER,
        }
    ),
}

PART = Part(
    {
        "GET /slmreg/status": Described(answer=ref("DaemonStatus")),
        "GET /slmreg/models": Described(
            answer=record({"data": many(ref("Model")), "total": WHOLE, "next": maybe(WHOLE)})
        ),
        "GET /slmreg/models/{reference}": Described(answer=ref("Model"), errors=_FOUND),
        "GET /slmreg/problems": Described(answer=page_of("Problem")),
        "GET /slmreg/roots": Described(answer=page_of("Root")),
        "GET /slmreg/hardware": Described(answer=ref("Hardware")),
        "POST /slmreg/tune": Described(
            answer=record({"id": TEXT, **_TUNED, "seconds": NUMBER, "measured": many(_TRIAL)}),
            asks={"model": "phi-4-mini"},
            errors=ANSWERED,
        ),
        "DELETE /slmreg/tune/{reference}": Described(
            answer=record({"id": TEXT, "forgotten": TRUTH}),
            example={"id": "phi-4-mini:5", "forgotten": True},
            errors=_FOUND,
        ),
        "GET /slmreg/settings": Described(
            answer=record({"path": TEXT, "problem": maybe(TEXT), "data": many(ref("Setting"))})
        ),
        "POST /slmreg/settings/reload": Described(
            answer=record({"changed": many(TEXT), "changed_for_loads": many(TEXT), "need_restart": many(TEXT)}),
            example={"changed": ["keep_alive"], "changed_for_loads": [], "need_restart": ["port"]},
            errors=(409,),
        ),
        "GET /slmreg/logs/levels": Described(answer=_LEVELS, example={"levels": {"slmreg": "info"}}),
        "PUT /slmreg/logs/levels": Described(answer=_LEVELS, asks={"levels": {"slmreg.pool": "debug"}}),
        "POST /slmreg/scan": Described(
            answer=record(
                {
                    "added": WHOLE,
                    "updated": WHOLE,
                    "missing": WHOLE,
                    "unchanged": WHOLE,
                    "problems": many(ref("Problem")),
                    "seconds": NUMBER,
                }
            ),
            example={"added": 1, "updated": 0, "missing": 0, "unchanged": 7, "problems": [], "seconds": 0.31},
        ),
        "POST /slmreg/select": Described(
            answer=ref("Selection"), asks={"task": "code", "context_tokens": 4096, "limit": 3}
        ),
        "GET /slmreg/selections": Described(answer=page_of("Decision")),
        "GET /slmreg/selections/{selection_id}": Described(answer=ref("RecordedSelection"), errors=_FOUND),
        "GET /slmreg/pins": Described(answer=page_of("Pin")),
        "POST /slmreg/pins": Described(
            answer=ref("Pin"), asks={"task": "chat", "model": "phi-4-mini*", "fallback": "error"}, errors=NAMED
        ),
        "DELETE /slmreg/pins/{task}": Described(answer=record({"unpinned": TEXT}), example={"unpinned": "chat"}),
        "GET /slmreg/evaluations": Described(answer=page_of("Evaluation")),
        "POST /slmreg/evaluations": Described(
            answer=ref("Evaluation"), asks={"model": "phi-4-mini", "task": "code", "rating": 4}, errors=_FOUND
        ),
        "DELETE /slmreg/evaluations/{reference}": Described(
            answer=record({"model": TEXT, "task": maybe(TEXT), "forgotten": WHOLE}), errors=_FOUND
        ),
        "GET /slmreg/presets": Described(answer=page_of("Preset")),
        "POST /slmreg/presets": Described(
            answer=ref("Preset"),
            asks={"name": "mario", "from": "phi-4-mini", "system": "You are Mario.", "parameters": {"seed": 1}},
            errors=NAMED,
        ),
        "GET /slmreg/presets/{name}": Described(answer=ref("Preset"), errors=_FOUND),
        "DELETE /slmreg/presets/{name}": Described(answer=record({"removed": TEXT}), errors=_FOUND),
        "GET /slmreg/events": Described(answer=None, stream=EVENTS, says="events named by what happened"),
        "GET /slmreg/sessions": Described(answer=many(ref("Session"))),
        "POST /slmreg/load": Described(
            answer=ref("LoadedSession"), asks={"model": "phi-4-mini", "keep_alive": "1h"}, errors=ANSWERED
        ),
        "POST /slmreg/unload": Described(
            answer=record({"id": TEXT, "unloaded": TRUTH}),
            example={"id": "phi-4-mini:5", "unloaded": True},
            asks={"model": "phi-4-mini"},
            errors=NAMED,
        ),
    },
    SCHEMAS,
)
