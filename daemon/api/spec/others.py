"""Foundry Local's routes, those of a simple engine, and those that say whether the daemon is well."""

from __future__ import annotations

from daemon.api.spec.described import ANSWERED, METRICS, NAMED, Described, Part
from daemon.api.spec.schemas import ANYTHING, NUMBER, TEXT, TRUTH, WHOLE, among, many, maybe, record, ref, table

_LOADED = Described(answer=many(TEXT), example=["phi-4-mini:5"])
_LOAD = Described(answer=record({"status": among("loaded", "already_loaded")}), errors=ANSWERED)
_UNLOAD = Described(answer=record({"status": among("unloaded", "not_loaded")}), errors=NAMED)

PART = Part(
    {
        "GET /openai/status": Described(
            answer=record({"endpoints": many(TEXT), "modelDirPath": maybe(TEXT), "pipeName": maybe(TEXT)})
        ),
        "GET /status": Described(answer=record({"endpoints": many(TEXT), "modelCachePath": maybe(TEXT), "pid": WHOLE})),
        "GET /openai/models": _LOADED,
        "GET /openai/loadedmodels": _LOADED,
        "GET /models/loaded": _LOADED,
        "GET /foundry/list": Described(answer=many(ref("FoundryModel"))),
        "POST /openai/load/{reference}": _LOAD,
        "POST /models/load/{reference}": _LOAD,
        "POST /openai/unload/{reference}": _UNLOAD,
        "POST /models/unload/{reference}": _UNLOAD,
        "POST /reasoning": Described(
            answer=record({"generated_text": TEXT, "task_type": TEXT, "inference_time": NUMBER, "model": TEXT}),
            example={
                "generated_text": "4, because 2 and 2 are 4.",
                "task_type": "math",
                "inference_time": 0.81,
                "model": "phi-4-mini:5",
            },
            asks={"prompt": "What is 2 + 2?", "task_type": "math"},
            errors=ANSWERED,
        ),
        "GET /health": Described(
            answer=record(
                {"status": among("healthy", "model_not_loaded"), "model": maybe(TEXT), "capabilities": many(TEXT)}
            )
        ),
        "GET /metrics": Described(answer=None, stream=METRICS, says="as Prometheus reads them; see docs/metrics.md"),
        "GET /": Described(
            answer=record({"name": TEXT, "version": TEXT, "status": among("running"), "docs": TEXT, "openapi": TEXT})
        ),
        "GET /healthz": Described(answer=record({"status": among("ok")}), example={"status": "ok"}),
        "GET /readyz": Described(
            answer=record({"status": among("ready", "starting")}), example={"status": "ready"}, errors=(503,)
        ),
    },
    {
        "FoundryModel": record(
            {
                "id": TEXT,
                "name": TEXT,
                "displayName": TEXT,
                "alias": TEXT,
                "version": TEXT,
                "providerType": TEXT,
                "uri": TEXT,
                "task": TEXT,
                "runtime": record({"deviceType": TEXT, "executionProvider": TEXT}),
                "fileSizeMb": WHOLE,
                "promptTemplate": table(ANYTHING),
                "maxOutputTokens": WHOLE,
                "supportsToolCalling": TRUTH,
                "cached": TRUTH,
            }
        )
    },
)
