"""Bodies of no declared kind, as some programs that were written for Ollama send them: there every body is JSON."""

from __future__ import annotations

from starlette.types import Scope

from daemon.api.envelopes import OLLAMA_PREFIX

_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})
# A browser says where a request comes from, and asks no preflight for a body of no kind.
_OF_BROWSERS = frozenset({b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"})


def as_declared(scope: Scope) -> Scope:
    """``scope`` with its body declared as JSON, where it declares nothing, is for Ollama's API and from no browser."""
    names = {name.lower() for name, _ in scope["headers"]}
    is_declared = b"content-type" in names or not names & _LENGTHS
    if is_declared or names & _OF_BROWSERS or not scope["path"].startswith(OLLAMA_PREFIX):
        return scope
    return {**scope, "headers": [*scope["headers"], (b"content-type", b"application/json")]}
