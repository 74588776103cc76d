"""What stands between a request and every handler there is: who may ask, from where, and how much.

In this order: the request gets its id; the Host must be one of ours (against DNS rebinding); the Origin, if there is
one, must be welcome (against cross-site requests), and a preflight is answered; where keys are required one must be
shown, with the scope that the route takes, but for the few routes that are open; a body must say that it is JSON
(text/plain would skip the browser's preflight), be no larger than the limit and unambiguous; one client has only so
many requests at the same time.

Invariant: this wraps every route, also those that do not exist, and what nobody has thought about takes an admin's key.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon import lenience, request_id
from daemon.access import Access, Caller
from daemon.api.errors import plain_error
from daemon.api.headers import IGNORED_HEADER
from daemon.api.json_bodies import JsonLimits, UnusableJson
from daemon.api.origins import HostList, OriginList, is_of_host, preflight_headers, shared_with
from daemon.api.scopes import is_open, remember_caller, scope_of
from daemon.api.undeclared import as_declared
from daemon.config.present import Derived
from daemon.settings import Settings
from registry.model import KeyScope

log = logging.getLogger("slmreg.api")

RETRY_AFTER_S = "1"
# Whoever watches over the daemon asks these also while everything else is too much.
_UNCOUNTED = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response that no handler gave."""

    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)


class Guard:
    """Pure ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        settings: Callable[[], Settings],
        form_paths: frozenset[str] = frozenset(),
    ) -> None:
        """``form_paths`` are those whose bodies are forms (multipart/form-data)."""
        self._app = app
        self._access = access
        self._form_paths = form_paths
        self._settings = settings
        self._json = Derived(settings, lambda now: JsonLimits(now.max_json_depth, now.max_json_items))
        self._hosts = Derived(settings, _hosts)
        self._origins = Derived(settings, lambda now: OriginList(now.allowed_origins))
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = as_declared(scope)
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        is_welcome = origin is not None and (
            self._origins().allows(origin) or is_of_host(origin, headers.get("host", ""))
        )
        left_out = lenience.begin(is_allowed=self._settings().ignore_unsupported)
        answer = _Answering(
            send, request_id.begin(headers.get("x-request-id")), origin if is_welcome else None, left_out
        )
        refusal = self._foreign(scope, headers, is_welcome=is_welcome)
        if refusal is None and is_welcome and _is_preflight(scope, headers):
            await _preflight_response(headers)(scope, receive, answer.send)
            return
        await self._let_in(scope, headers, receive, answer.send, refusal)

    async def _let_in(
        self, scope: Scope, headers: Headers, receive: Receive, send: Send, refusal: Refusal | None
    ) -> None:
        caller = self._access.caller(_shown_key(headers))
        refusal = refusal or self._unauthorised(scope, caller) or self._bad_body(scope, headers)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        client = (caller.key if caller is not None else None) or _address(scope)
        if self._running[client] >= self._settings().max_client_requests and scope["path"] not in _UNCOUNTED:
            await _refuse(self._too_many(), scope, receive, send)
            return
        self._running[client] += 1
        remember_caller(scope, caller)
        try:
            await self._run(scope, headers, receive, send)
        finally:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]

    def _foreign(self, scope: Scope, headers: Headers, *, is_welcome: bool) -> Refusal | None:
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._hosts().allows(host):
            return Refusal(
                403,
                "host_not_allowed",
                f"The Host {host[:100]!r} is not this machine. Use http://127.0.0.1 or localhost, or add the name to "
                "allowed_hosts.",
            )
        origin = headers.get("origin")
        if origin is not None and not is_welcome:
            message = f"Pages of {origin[:100]!r} may not use this server, unless it stands in allowed_origins."
            return Refusal(403, "origin_not_allowed", message)
        if origin is None and headers.get("sec-fetch-site") == "cross-site" and not _is_followed_link(scope, headers):
            return Refusal(403, "origin_not_allowed", "Pages of other sites may not use this server.")
        return None

    def _unauthorised(self, scope: Scope, caller: Caller | None) -> Refusal | None:
        if is_open(scope["method"], scope["path"]):
            return None
        if caller is None:
            return Refusal(
                401,
                "invalid_api_key",
                "This daemon wants an API key: send one as 'Authorization: Bearer KEY' or 'x-api-key: KEY'. "
                "`slmreg key create NAME` makes one.",
                {"WWW-Authenticate": "Bearer"},
            )
        if caller.scope is not KeyScope.ADMIN and caller.scope is not scope_of(scope["method"], scope["path"]):
            message = (
                f"The key {caller.key!r} may not do this: it takes one with the scope admin. "
                "`slmreg key create NAME --scope admin` makes one."
            )
            return Refusal(403, "insufficient_scope", message)
        return None

    def _bad_body(self, scope: Scope, headers: Headers) -> Refusal | None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if not has_body and not (kind and scope["method"] == "POST"):
            return None
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            return Refusal(415, "encoding_not_supported", "Send the body as it is: no Content-Encoding is taken.")
        is_form = scope["path"] in self._form_paths and kind == "multipart/form-data"
        if not is_form and kind != "application/json":
            return Refusal(415, "json_required", "Send the body with Content-Type: application/json.")
        if _number(headers.get("content-length")) > self._settings().max_body_bytes:
            return Refusal(413, "body_too_large", self._too_large())
        return None

    async def _run(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        is_json = headers.get("content-type", "").lower().startswith("application/json")
        received = self._counted(receive)
        if not is_json:
            await self._app(scope, received, send)
            return
        try:
            body = await _whole_body(received)
            if body:
                self._json().check(body)
        except _Left:
            return
        except HTTPException as error:
            await _refuse(Refusal(error.status_code, "body_too_large", error.detail), scope, receive, send)
        except UnusableJson as error:
            await _refuse(Refusal(400, "invalid_json", f"The body is not usable: {error}."), scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)

    def _counted(self, receive: Receive) -> Receive:
        """Count what arrives: a chunked body announces no length."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._settings().max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return counted

    def _too_large(self) -> str:
        return f"The body is larger than max_body_bytes = {self._settings().max_body_bytes}."

    def _too_many(self) -> Refusal:
        most = self._settings().max_client_requests
        return Refusal(
            429,
            "too_many_requests",
            f"This client has max_client_requests = {most} requests running. Wait for one to end.",
            {"Retry-After": RETRY_AFTER_S},
        )


class _Answering:
    """Sends what a request gets, with its id, what was left out of it, and with what lets the page of an allowed
    ``origin`` read it."""

    def __init__(self, send: Send, request_id: str, origin: str | None, left_out: list[str]) -> None:
        self._send = send
        self._left_out = left_out
        self._added = [(b"x-request-id", request_id.encode()), *(shared_with(origin) if origin is not None else ())]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *self._added, *self._ignored()]}
        await self._send(message)

    def _ignored(self) -> Sequence[tuple[bytes, bytes]]:
        if not self._left_out:
            return ()
        names = lenience.as_text(self._left_out)
        log.info("api.ignored parameters=%s", names)
        return ((IGNORED_HEADER.encode(), names.encode()),)


class _Left(Exception):
    """The client went away before its body was here."""


async def _whole_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Left
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """``body`` first, then what comes after it."""
    rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return rest.pop() if rest else await receive()

    return replay


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    log.info("api.refused status=%d code=%s method=%s", refusal.status, refusal.code, scope["method"])
    response = plain_error(
        refusal.message, status=refusal.status, code=refusal.code, path=scope["path"], headers=refusal.headers
    )
    await response(scope, receive, send)


def _hosts(now: Settings) -> HostList:
    return HostList((*now.allowed_hosts, now.host), takes_addresses=now.is_public)


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _preflight_response(headers: Headers) -> Response:
    is_private = headers.get("access-control-request-private-network") == "true"
    told = preflight_headers(headers.get("access-control-request-headers"), is_private_network=is_private)
    return Response(status_code=204, headers=MutableHeaders(told))


def _is_followed_link(scope: Scope, headers: Headers) -> bool:
    """Somebody clicked on it, and will see what comes; nothing changes on GET."""
    return scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"


def _shown_key(headers: Headers) -> str | None:
    kind, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else headers.get("x-api-key")


def _address(scope: Scope) -> str:
    """None for a Unix socket: everybody there is one client."""
    client = scope.get("client")
    return client[0] if client else "socket"


def _number(text: str | None) -> int:
    # The first digits tell enough, and thousands of them would be an error of their own.
    return int(text[:20]) if text is not None and text.isdecimal() else 0
