"""What a key must be for, by method and path: one table, and whatever is not in it needs an admin's key.

A test walks all routes of the application and wants each of them here. ``{x}`` is one part of a path, ``{x:path}`` any
number of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from registry.model import KeyScope

# Without a key even where keys are required: they say nothing but that the process lives, and is ready.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})

# Asking, and reading what is here.
USE = """
    POST   /v1/chat/completions
    POST   /v1/completions
    POST   /v1/responses
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
    GET    /slmreg/settings
    GET    /slmreg/presets
    GET    /slmreg/presets/{name:path}
    GET    /openapi.json
    GET    /metrics
    GET    /docs
    GET    /
"""

# Changing what the daemon does, or what it knows.
ADMIN = """
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


def scope_of(method: str, path: str) -> KeyScope:
    """What it takes; ADMIN for what nobody has thought about."""
    return listed_scope(method, path) or KeyScope.ADMIN


def listed_scope(method: str, path: str) -> KeyScope | None:
    """What the table says, None if it says nothing. HEAD is GET without the body."""
    method = "GET" if method == "HEAD" else method
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    return next((scope for verb, form, scope in _FORMS if verb == method and form.fullmatch(path)), None)


def _rows() -> Iterator[tuple[str, str, KeyScope]]:
    for table, scope in ((USE, KeyScope.USE), (ADMIN, KeyScope.ADMIN)):
        for line in table.strip().splitlines():
            method, path = line.split()
            yield method, path, scope


def _form(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    text = (".+" if part.endswith(":path}") else "[^/]+" if part[:1] == "{" else re.escape(part) for part in parts)
    return re.compile("".join(text), re.DOTALL)


_EXACT = {(method, path): scope for method, path, scope in _rows() if "{" not in path}
_FORMS = [(method, _form(path), scope) for method, path, scope in _rows() if "{" in path]
