"""Foundry Local's own routes, for apps that were written for it: those of its service, and those of its SDK 2.

Invariant: what changes something is done by POST. Foundry Local takes GET there, which any page in a browser can send.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from daemon.api.errors import plain_error
from daemon.bounds import MAX_SECONDS
from daemon.catalog import Catalog
from daemon.endpoints import EVERY
from daemon.loads import Loads
from daemon.pool.pool import SessionPool
from daemon.pool.session import SessionState
from daemon.shapes import Json
from registry.errors import UnsupportedParameter
from registry.layouts.providers import execution_provider
from registry.model import ExecutionProvider, Model, Source, Status, Task

_PROVIDERS = {
    ExecutionProvider.CPU: "CPUExecutionProvider",
    ExecutionProvider.CUDA: "CUDAExecutionProvider",
    ExecutionProvider.TENSORRT_RTX: "NvTensorRTRTXExecutionProvider",
    ExecutionProvider.DIRECTML: "DmlExecutionProvider",
    ExecutionProvider.WEBGPU: "WebGpuExecutionProvider",
    ExecutionProvider.OPENVINO: "OpenVINOExecutionProvider",
    ExecutionProvider.QNN: "QNNExecutionProvider",
    ExecutionProvider.VITIS_AI: "VitisAIExecutionProvider",
    ExecutionProvider.MIGRAPHX: "MIGraphXExecutionProvider",
}
# The first that a model can do, in Foundry's words.
_TASKS = {
    Task.EMBEDDINGS: "embeddings",
    Task.TRANSCRIPTION: "automatic-speech-recognition",
    Task.VISION: "vision-language-chat",
    Task.CHAT: "chat-completion",
}
_MIB = 1024 * 1024


def foundry_router(catalog: Catalog) -> APIRouter:
    """What is here. Plain functions: they touch the disk."""
    router = APIRouter(tags=["Foundry Local"])

    @router.get("/openai/status")
    def service_status(request: Request) -> Json:
        """Where the service is, and where its models lie."""
        return {"endpoints": _endpoints(request), "modelDirPath": _model_folder(catalog), "pipeName": None}

    @router.get("/status")
    def sdk_status(request: Request) -> Json:
        """The same, as version 2 of the SDK asks for it."""
        return {"endpoints": _endpoints(request), "modelCachePath": _model_folder(catalog), "pid": os.getpid()}

    @router.get("/openai/models")
    def models() -> list[str]:
        """The ids of all models that can be used."""
        return [model.id for model in _usable(catalog)]

    @router.get("/foundry/list")
    def catalog_list() -> list[Json]:
        """The same with what Foundry's catalog says of each; nothing is downloaded, so what is here is all there is."""
        return [_entry(model) for model in _usable(catalog)]

    return router


def foundry_sessions_router(catalog: Catalog, loads: Loads, pool: SessionPool) -> APIRouter:
    """What is loaded. A model need not be loaded first: the first request does that."""
    router = APIRouter(tags=["Foundry Local"])

    @router.get("/openai/loadedmodels")
    @router.get("/models/loaded")
    async def loaded() -> list[str]:
        """The ids of the models that are loaded."""
        return _loaded(pool)

    @router.post("/openai/load/{reference:path}")
    @router.post("/models/load/{reference:path}")
    async def load(
        reference: str,
        ttl: Annotated[float | None, Query(ge=0, le=MAX_SECONDS, description="seconds it stays unused")] = None,
        ep: Annotated[str | None, Query(max_length=64, description="only the model's own")] = None,
    ) -> Json:
        """Load a model; the first request for it does that as well."""
        resolved = await asyncio.to_thread(catalog.resolve, reference, serves=EVERY)
        own = resolved.model.execution_provider
        if ep and execution_provider(ep) is not own:
            raise UnsupportedParameter(
                f"{resolved.model.id} runs on {own}, and 'ep' cannot change that. Leave it out, or load the variant "
                "for the other one.",
                param="ep",
            )
        was_loaded = resolved.model.id in _loaded(pool)
        plan = resolved.plan if ttl is None else replace(resolved.plan, keep_alive_s=ttl)
        await pool.load(resolved.model, plan)
        return {"status": "already_loaded" if was_loaded else "loaded"}

    @router.post("/openai/unload/{reference:path}")
    @router.post("/models/unload/{reference:path}")
    async def unload(reference: str) -> Json:
        """When running answers are done, however long it was to stay (``force`` changes nothing)."""
        _model_id, is_unloaded = await loads.unload(reference)
        return {"status": "unloaded" if is_unloaded else "not_loaded"}

    @router.get("/openai/load/{reference:path}", include_in_schema=False, response_model=None)
    @router.get("/models/load/{reference:path}", include_in_schema=False, response_model=None)
    @router.get("/openai/unload/{reference:path}", include_in_schema=False, response_model=None)
    @router.get("/models/unload/{reference:path}", include_in_schema=False, response_model=None)
    async def not_by_get(reference: str) -> Response:
        response = plain_error(
            f"GET changes nothing here, because any web page could send it. For {reference!r}, send a POST to "
            "the same path. A model need not be loaded first: the first request for it does that.",
            status=405,
            code="post_required",
        )
        response.headers["Allow"] = "POST"
        return response

    return router


def _usable(catalog: Catalog) -> list[Model]:
    return [model for model in catalog.models(include_missing=False) if model.status is Status.READY]


def _loaded(pool: SessionPool) -> list[str]:
    return [session.model_id for session in pool.snapshot() if session.state is SessionState.READY]


def _endpoints(request: Request) -> list[str]:
    """Where this daemon was just reached."""
    return [str(request.base_url).rstrip("/")]


def _model_folder(catalog: Catalog) -> str | None:
    """Foundry's cache if there is one, else the first place where models are looked for."""
    roots = [root for root in catalog.roots() if root.exists and root.is_enabled]
    first = next((root for root in roots if root.source is Source.FOUNDRY), next(iter(roots), None))
    return str(first.path) if first is not None else None


def _entry(model: Model) -> Json:
    """Its SDK demands every key; what is only known to its makers' catalog is empty."""
    return {
        "id": model.id,
        "name": model.id,
        "displayName": model.name,
        "alias": model.alias,
        "version": model.version,
        "modelType": "ONNX",
        "providerType": "slmreg",
        "uri": f"slmreg://{model.id}",
        "parentModelUri": "",
        "publisher": model.publisher or "",
        "license": model.license or "",
        "licenseDescription": "",
        "task": next((name for task, name in _TASKS.items() if task in model.tasks), "text-generation"),
        "runtime": {
            "deviceType": str(model.device).upper(),
            "executionProvider": _PROVIDERS.get(model.execution_provider, str(model.execution_provider)),
        },
        "fileSizeMb": -(-model.size_bytes // _MIB),
        "promptTemplate": {},
        "modelSettings": {"parameters": []},
        "maxOutputTokens": model.max_output_tokens or model.context_tokens,
        "supportsToolCalling": Task.TOOLS in model.tasks,
        "minFLVersion": "",
        "cached": True,
    }
