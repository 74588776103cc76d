"""An error in the form of the API that the client speaks, which is known by the path before any route is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from daemon import request_id
from daemon.api.errors import envelope

_ANTHROPIC_PATH = "/v1/messages"
_OLLAMA_PATHS = "/api/"
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}


def error_in_form_of(
    path: str, message: str, *, status: int, code: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    body: dict[str, Any]
    if path.startswith(_OLLAMA_PATHS):
        body = {"error": message}
    elif path.startswith(_ANTHROPIC_PATH):
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id.current()}
    else:
        body = envelope(message, status=status, code=code)
    return JSONResponse(body, status_code=status, headers=headers)
