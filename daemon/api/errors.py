"""From an error to what a client sees: one table of statuses, and OpenAI's envelope, or that of the path's own API.

Invariant: every subclass of SlmregError has its own row (a test holds this), and no response carries a stack or a path
of the program.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from daemon.api.envelopes import Envelope, envelope_at
from registry import errors

log = logging.getLogger("slmreg.api")

STATUS: dict[type[errors.SlmregError], int] = {
    errors.SlmregError: 500,
    errors.InvalidRequest: 400,
    errors.UnknownTask: 400,
    errors.UnsupportedParameter: 400,
    errors.ContextLengthExceeded: 400,
    errors.SettingsError: 409,
    errors.InvalidRoot: 400,
    errors.InvalidModelFolder: 409,
    errors.DatabaseError: 500,
    errors.ModelNotFound: 404,
    errors.AdapterNotFound: 404,
    errors.PresetNotFound: 404,
    errors.SelectionNotFound: 404,
    errors.ResponseNotFound: 404,
    errors.ModelNotUsable: 409,
    errors.NoModelForTask: 503,
    errors.ModelInUse: 409,
    errors.PinnedModelNotUsable: 409,
    errors.OutOfBudget: 503,
    errors.Overloaded: 429,
    errors.TooBusy: 503,
    errors.LoadFailed: 503,
    errors.WorkerDied: 502,
    errors.ModelUnloaded: 503,
    errors.GenerationFailed: 500,
    errors.NotOffered: 501,
    errors.AnswerTimedOut: 504,
    errors.DaemonStopping: 503,
    errors.DaemonNotRunning: 503,
    errors.DaemonAlreadyRunning: 409,
    errors.AddressInUse: 409,
    errors.ServiceError: 500,
    errors.NoServiceSystem: 501,
}


# What pydantic and the web framework put into the place of an error that is no part of the JSON.
NOT_IN_JSON = frozenset({"body", "query", "path", "str"})
# Of an absolute path all but the last part; a URL is none.
_FOLDERS = re.compile(r"(?<![\w/.~-])(?:[A-Za-z]:[\\/]|/)(?:[^\s/\\'\"`:,;()]+[\\/])+")


def status_of(error: errors.SlmregError) -> int:
    return STATUS[type(error)]


def error_body(error: errors.SlmregError, path: str = "") -> Envelope:
    """In the form of the API that ``path`` belongs to."""
    message, param = without_folders(error.message), getattr(error, "param", None)
    return envelope_at(path)(message, status=status_of(error), code=error.code, param=param)


def without_folders(message: str) -> str:
    """Files by their names alone: where they lie is nothing that a client has to know.

    Where a client needs to know, as one that lists models, it is told so outside of errors.
    """
    return _FOLDERS.sub("", message)


def error_response(error: errors.SlmregError, path: str = "") -> JSONResponse:
    """In the form of the API that ``path`` belongs to."""
    wait_s = getattr(error, "retry_after_s", None)
    headers = {"Retry-After": str(math.ceil(wait_s))} if wait_s is not None else None
    return JSONResponse(error_body(error, path), status_code=status_of(error), headers=headers)


def plain_error(
    message: str,
    *,
    status: int,
    code: str,
    param: str | None = None,
    path: str = "",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """In the form of the API that ``path`` belongs to."""
    body = envelope_at(path)(message, status=status, code=code, param=param)
    return JSONResponse(body, status_code=status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(errors.SlmregError, _on_slmreg_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_body)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


async def _on_slmreg_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.SlmregError):
        raise error
    return error_response(error, request.url.path)


async def _on_invalid_body(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return error_response(first_wrong(error.errors()), path=request.url.path)


def first_wrong(problems: Sequence[Any]) -> errors.InvalidRequest:
    """The first thing that pydantic found wrong with a body, by its path in the JSON."""
    # A field that may be of several types reports each one tried: the one that got furthest is what was meant.
    same_field = [problem for problem in problems if problem["loc"][:3] == problems[0]["loc"][:3]]
    first = max(reversed(same_field), key=lambda problem: len(problem["loc"]))
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "syntax error")
        error = errors.InvalidRequest(f"The body is not valid JSON: {reason}.")
        error.code = "invalid_json"
        return error
    where = [str(part) for part in first["loc"] if part not in NOT_IN_JSON and "[" not in str(part)]
    param = ".".join(where) or None
    if first["type"] == "extra_forbidden":
        return errors.UnsupportedParameter(f"The parameter {param!r} is not supported. Leave it out.", param=param)
    reason = str(first["msg"]).removeprefix("Value error, ")
    message = f"{param}: {reason}." if param else f"The request is not usable: {reason}."
    return errors.InvalidRequest(message, param=param)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    messages = {
        # The web framework's word for JSON that breaks the parser itself.
        400: "The body cannot be read: it is nested too deeply, or holds a number of thousands of digits.",
        404: f"There is nothing at {request.method} {request.url.path}.",
        405: f"{request.method} is not possible at {request.url.path}.",
    }
    codes = {400: "invalid_json", 413: "body_too_large"}
    code = codes.get(status, f"http_{status}")
    return plain_error(messages.get(status, str(error.detail)), status=status, code=code, path=request.url.path)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    log.error("api.bug path=%s", request.url.path, exc_info=error)
    return plain_error(
        "slmreg failed on this request; this is a bug. The log of the daemon has the details.",
        status=500,
        code="internal_error",
        path=request.url.path,
    )
