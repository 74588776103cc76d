"""How each API writes an error: OpenAI's object, or that of the path's own API."""

from __future__ import annotations

from typing import Any, Protocol

from daemon import request_id
from daemon.surrogates import without_surrogates

Envelope = dict[str, Any]

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# What Anthropic's tool runner understands: it then keeps the conversation itself.
_NO_THREADS = "thread_unsupported_request"


class InWords(Protocol):
    def __call__(self, message: str, *, status: int, code: str | None, param: str | None = None) -> Envelope: ...


def openai_envelope(message: str, *, status: int, code: str | None, param: str | None = None) -> Envelope:
    """``type`` follows from the status, as there. What a client sent may stand in ``message`` and ``param``."""
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = without_surrogates(param) if param is not None else None
    error = {"message": without_surrogates(message), "type": kind, "param": param, "code": code}
    return {"error": {**error, **_request()}}


def anthropic_envelope(message: str, *, status: int, code: str | None, param: str | None = None) -> Envelope:
    """``type`` follows from the status, as there. Ours stands where their own codes do, in ``details``.

    It has no place for ``param``: a message that does not name it is given its name.
    """
    kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    if param is not None and param.rpartition(".")[2] not in message:
        message = f"{param}: {message}"
    error: Envelope = {"type": kind, "message": without_surrogates(message)}
    if code is not None:
        error["details"] = {"error_code": _NO_THREADS if param == "thread" else code}
    return {"type": "error", "error": error, **_request()}


def ollama_envelope(message: str, *, status: int, code: str | None, param: str | None = None) -> Envelope:
    """A text, and beside it what programs can tell errors by, which Ollama has not."""
    del status, param
    return {"error": without_surrogates(message), "code": code}


OLLAMA_PREFIX = "/api/"
# Whose errors look otherwise than OpenAI's, by how their paths begin.
_BY_PATH: dict[str, InWords] = {"/v1/messages": anthropic_envelope, OLLAMA_PREFIX: ollama_envelope}


def envelope_at(path: str) -> InWords:
    """That of the API which ``path`` belongs to."""
    return next((each for start, each in _BY_PATH.items() if path.startswith(start)), openai_envelope)


def _request() -> Envelope:
    current = request_id.current()
    return {"request_id": current} if current is not None else {}
