"""What a key must be for, by method and path: one table, and whatever is not in it needs an admin's key.

A test walks all routes of the application and wants each of them here. ``{x}`` is one part of a path, ``{x:path}`` any
number of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from starlette.types import Scope

from daemon.access import Caller
from registry.model import KeyScope

# Where the guard leaves who asks, in what the request says of itself.
_CALLER = "slmreg.caller"

# Without a key even where keys are required: what says nothing but that the process lives and is ready, and the page
# that asks people for their key, as the package has it. A browser has no key to send before there is that page.
OPEN = """
    GET    /healthz
    GET    /readyz
    GET    /docs
    GET    /docs/docs.css
    GET    /docs/docs.js
"""

# Asking, and reading what is here.
USE = """
    POST   /v1/chat/completions
    POST   /v1/completions
    POST   /v1/responses
    POST   /v1/responses/input_tokens
    GET    /v1/responses/{id}
    DELETE /v1/responses/{id}
    GET    /v1/responses/{id}/input_items
    POST   /v1/responses/{id}/cancel
    POST   /v1/messages
    POST   /v1/messages/count_tokens
    POST   /v1/embeddings
    POST   /v1/audio/transcriptions
    POST   /v1/audio/translations
    GET    /v1/models
    GET    /v1/models/{model:path}
    GET    /api/version
    GET    /api/tags
    GET    /api/ps
    POST   /api/show
    POST   /api/chat
    POST   /api/generate
    POST   /api/embed
    POST   /api/embeddings
    POST   /reasoning
    GET    /health
    GET    /status
    GET    /openai/status
    GET    /openai/models
    GET    /openai/loadedmodels
    GET    /foundry/list
    GET    /models/loaded
    GET    /openai/load/{model:path}
    GET    /openai/unload/{model:path}
    GET    /models/load/{model:path}
    GET    /models/unload/{model:path}
    POST   /slmreg/select
    GET    /slmreg/status
    GET    /slmreg/models
    GET    /slmreg/models/{model:path}
    GET    /slmreg/problems
    GET    /slmreg/roots
    GET    /slmreg/hardware
    GET    /slmreg/events
    GET    /slmreg/selections
    GET    /slmreg/selections/{id}
    GET    /slmreg/pins
    GET    /slmreg/evaluations
    GET    /slmreg/sessions
    GET    /slmreg/logs/levels
    GET    /slmreg/presets
    GET    /slmreg/presets/{name:path}
    GET    /openapi.json
    GET    /metrics
    GET    /
"""

# Changing what the daemon does, or what it knows.
ADMIN = """
    GET    /slmreg/settings
    POST   /slmreg/settings/reload
    POST   /slmreg/scan
    POST   /slmreg/load
    POST   /slmreg/unload
    POST   /slmreg/tune
    DELETE /slmreg/tune/{model:path}
    POST   /slmreg/pins
    DELETE /slmreg/pins/{task}
    POST   /slmreg/evaluations
    DELETE /slmreg/evaluations/{model:path}
    POST   /slmreg/presets
    DELETE /slmreg/presets/{name:path}
    PUT    /slmreg/logs/levels
    POST   /api/create
    POST   /api/copy
    DELETE /api/delete
    POST   /api/pull
    POST   /api/push
    POST   /api/blobs/{digest}
    POST   /openai/load/{model:path}
    POST   /openai/unload/{model:path}
    POST   /models/load/{model:path}
    POST   /models/unload/{model:path}
"""


def remember_caller(scope: Scope, caller: Caller | None) -> None:
    """For ``is_admin``."""
    scope[_CALLER] = caller


def is_admin(scope: Scope) -> bool:
    """Whether whoever sent this request may do everything: with the key that it takes, or where it takes none."""
    caller = scope.get(_CALLER)
    return isinstance(caller, Caller) and caller.scope is KeyScope.ADMIN


def is_open(method: str, path: str) -> bool:
    """Whether it takes no key, whatever else it takes."""
    row = _find(method, path)
    return row is not None and row.is_open


def scope_of(method: str, path: str) -> KeyScope:
    """What it takes; ADMIN for what nobody has thought about."""
    return listed_scope(method, path) or KeyScope.ADMIN


def listed_scope(method: str, path: str) -> KeyScope | None:
    """What the table says, None if it says nothing; USE for what is open, too. HEAD is GET without the body."""
    row = _find(method, path)
    return row.scope if row is not None else None


def template_of(method: str, path: str) -> str | None:
    """The path as it stands in the table, so one of a bounded number; None if it is not in there."""
    row = _find(method, path)
    return row.path if row is not None else None


@dataclass(frozen=True, slots=True)
class _Row:
    method: str
    path: str
    scope: KeyScope
    is_open: bool
    form: re.Pattern[str]


def _find(method: str, path: str) -> _Row | None:
    method = "GET" if method == "HEAD" else method
    return _EXACT.get((method, path)) or next(
        (row for row in _FORMS if row.method == method and row.form.fullmatch(path)), None
    )


def _rows() -> Iterator[_Row]:
    for table, scope in ((OPEN, KeyScope.USE), (USE, KeyScope.USE), (ADMIN, KeyScope.ADMIN)):
        for line in table.strip().splitlines():
            method, path = line.split()
            yield _Row(method, path, scope, table is OPEN, _form(path))


def _form(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    text = (".+" if part.endswith(":path}") else "[^/]+" if part[:1] == "{" else re.escape(part) for part in parts)
    return re.compile("".join(text), re.DOTALL)


_EXACT = {(row.method, row.path): row for row in _rows() if "{" not in row.path}
_FORMS = [row for row in _rows() if "{" in row.path]
