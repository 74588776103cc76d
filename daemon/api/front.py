"""``/``: what answers here. Ollama's command and other clients ask it before anything else, people type it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from daemon import __version__

PAGE = "/docs"


def front_router() -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.head("/", include_in_schema=False)
    @router.get("/", response_model=None)
    async def front(request: Request) -> Response:
        """What this is, and where it is described. A browser is led to the page of that."""
        said = {"name": "slmreg", "version": __version__, "status": "running", "docs": PAGE, "openapi": "/openapi.json"}
        varies = {"Vary": "Accept"}
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(PAGE, headers=varies)
        return JSONResponse(said, headers=varies)

    return router
