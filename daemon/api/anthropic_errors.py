"""Anthropic's error object."""

from __future__ import annotations

from typing import Any

from daemon.surrogates import without_surrogates

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# What their client's tool runner understands: it then keeps the conversation itself.
_NO_THREADS = "thread_unsupported_request"


def anthropic_envelope(message: str, *, status: int, code: str | None, param: str | None = None) -> dict[str, Any]:
    """``type`` follows from the status, as there. Ours stands where their own codes do, in ``details``.

    It has no place for ``param``: a message that does not name it is given its name.
    """
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    if param is not None and param.rpartition(".")[2] not in message:
        message = f"{param}: {message}"
    error: dict[str, Any] = {"type": kind, "message": without_surrogates(message)}
    if code is not None:
        error["details"] = {"error_code": _NO_THREADS if param == "thread" else code}
    return {"type": "error", "error": error}
