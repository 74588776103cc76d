"""What stands between a web page in the user's browser and this daemon.

A page on the internet can make the browser send requests to 127.0.0.1. So, before any handler: the Host must be one of
ours (against DNS rebinding), the Origin, if there is one, must be local (against cross-site requests), a body must say
that it is JSON (text/plain would skip the browser's preflight), and it must not be larger than the limit. Where a file
is uploaded, the body is a form, which skips the preflight as well: there, a request that the browser itself calls
cross-site is refused too.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.errors import plain_error

METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Guard:
    """Pure ASGI middleware: wraps every route there is, also those that do not exist."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, form_paths: frozenset[str] = frozenset()) -> None:
        """``form_paths`` are those whose bodies are forms (multipart/form-data)."""
        self._app = app
        self._form_paths = form_paths
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            status, code, message = refusal
            await plain_error(message, status=status, code=code, path=scope["path"])(scope, receive, send)
            return
        await self._run_with_limit(scope, receive, send)

    def _refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str, str] | None:
        host = _host_name(headers.get("host", ""))
        if not _is_this_machine(host):
            return 403, "host_not_allowed", f"The Host {host!r} is not this machine. Use http://127.0.0.1 or localhost."
        origin = headers.get("origin")
        if origin is not None and not _is_local_origin(origin):
            return 403, "origin_not_allowed", f"Pages of {origin!r} may not use this server."
        if method not in METHODS_WITH_BODY:
            return None
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        is_form = path in self._form_paths and kind == "multipart/form-data"
        if is_form and headers.get("sec-fetch-site") == "cross-site":
            return 403, "origin_not_allowed", "Pages of other sites may not use this server."
        if not is_form and kind != "application/json" and (has_body or kind):
            return 415, "json_required", "Send the body with Content-Type: application/json."
        if _number(headers.get("content-length")) > self._max_body_bytes:
            return 413, "body_too_large", self._too_large()
        return None

    async def _run_with_limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what arrives: a chunked body announces no length."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> str:
        return f"The body is larger than max_body_bytes = {self._max_body_bytes}."


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets; "" if it is not one."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_this_machine(host: str) -> bool:
    """A loopback address or ``localhost``; another name, even if it resolves to one, may be an attacker's."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_local_origin(origin: str) -> bool:
    """True for a page that this machine serves. "null" (a file, a sandboxed frame) is not."""
    try:
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and _is_this_machine(parts.hostname or "")
    except ValueError:
        return False


def _number(text: str | None) -> int:
    # The first digits tell enough, and thousands of them would be an error of their own.
    return int(text[:20]) if text is not None and text.isdecimal() else 0
