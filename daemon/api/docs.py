"""The documentation of the routes, for programs (``/openapi.json``) and for people (``/docs``), all from the package.

The page is our own, three files without a build: what loads its scripts from elsewhere shows nothing on a machine
without a network, and somebody else's pages are megabytes to keep up to date. A browser that opens a page cannot send
an API key, so these files take none: they are the package's, the same for everybody. The document that they show takes
one, which the page asks for.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from daemon.listing import encode

# The page may load its own two files, and ask this server; nothing else, and nobody may put it into a frame.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


def docs_router(app: FastAPI) -> APIRouter:
    """Plain functions: the document takes a while to make, once, and the pages lie on the disk."""
    router = APIRouter(include_in_schema=False)

    @cache
    def made() -> bytes:
        # Nothing else needs what describes the routes: it does not wait in memory.
        from daemon.api.spec.document import document

        return encode(document(app))

    @router.get("/openapi.json")
    def openapi() -> Response:
        return Response(made(), media_type="application/json")

    @router.get("/docs")
    def page() -> Response:
        return _page("docs.html")

    @router.get("/docs/docs.css")
    def style() -> Response:
        return _page("docs.css")

    @router.get("/docs/docs.js")
    def script() -> Response:
        return _page("docs.js")

    return router


def _page(name: str) -> Response:
    text = files("daemon.api").joinpath("pages", name).read_bytes()
    return Response(text, media_type=_KINDS[name.rpartition(".")[2]], headers=_HEADERS)
