"""Which host names and which web pages are welcome, and what a browser is told about that (CORS).

A page on the internet can make the browser send requests to 127.0.0.1. Against DNS rebinding the Host must be one of
ours, against cross-site requests the Origin, if there is one, must be.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from daemon.access_settings import is_loopback

_MAX_CHARACTERS = 300
_REMEMBERED = 256
_METHODS = "GET, POST, PUT, DELETE, OPTIONS"
_PREFLIGHT_MAX_AGE_S = 600
_EXPOSED = "x-request-id, x-slmreg-model, x-slmreg-task, x-slmreg-selection, x-slmreg-ignored, retry-after"

RawHeaders = list[tuple[bytes, bytes]]


class HostList:
    """Loopback addresses, localhost, and ``names``; where ``takes_addresses``, also every literal address.

    An address as the Host says that the browser was sent there by that address, and not by a name that an attacker has
    made point here.
    """

    def __init__(self, names: Iterable[str] = (), *, takes_addresses: bool = False) -> None:
        self._names = frozenset(names)
        self._takes_addresses = takes_addresses
        self._remembered = lru_cache(_REMEMBERED)(self._looked_at)

    def allows(self, host: str) -> bool:
        """``host`` is the header, with port and brackets; "" is not allowed."""
        return len(host) <= _MAX_CHARACTERS and self._remembered(host)

    def _looked_at(self, host: str) -> bool:
        name = _host_name(host)
        return is_loopback(name) or name in self._names or (self._takes_addresses and _is_address(name))


class OriginList:
    """Pages that this machine serves, and ``origins``. "null" (a file, a sandboxed frame) is never among them."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._remembered = lru_cache(_REMEMBERED)(self._looked_at)

    def allows(self, origin: str) -> bool:
        return len(origin) <= _MAX_CHARACTERS and self._remembered(origin)

    def _looked_at(self, origin: str) -> bool:
        if origin.lower() in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            return parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
        except ValueError:
            return False


def is_of_host(origin: str, host: str) -> bool:
    """Whether a page came from where it now asks: ours, if ``host`` is one of ours."""
    scheme, separator, place = origin.lower().partition("://")
    return separator != "" and scheme in ("http", "https") and place != "" and place == host.lower()


def shared_with(origin: str) -> RawHeaders:
    """The headers that let a page of an allowed origin read the response."""
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED.encode()),
        (b"vary", b"Origin"),
    ]


def preflight_headers(wanted: str | None, *, is_private_network: bool) -> dict[str, str]:
    """The answer to a browser that asks before it sends; ``wanted`` are the headers that the page wants to send."""
    headers = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": str(_PREFLIGHT_MAX_AGE_S)}
    if wanted is not None:
        headers["Access-Control-Allow-Headers"] = wanted
    if is_private_network:
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets; "" if it is not one."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
