"""What OpenAPI says of one route, beside what its parameters and its body's fields say themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.api.spec.schemas import Schema

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
METRICS = "text/plain"

# What the guard may say to any request, and what a request may get wrong.
ANY = (400, 401, 403, 413, 415, 429, 500)
# Where something is named that may not be there, or not as it is asked for.
NAMED = (404, 409)
# Where a model has to be there, be loaded, and answer.
ANSWERED = (*NAMED, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """``answer`` None: it has no body. ``example`` is one of it, ``asks`` one of a body.

    ``stream``: the media type that it has instead where the request wants a stream, ``says`` what comes in that.
    ``form``: the body is a form with these fields. ``errors``: the statuses that it may have beside ``ANY``.
    """

    answer: Schema | None
    example: Any = None
    asks: Any = None
    stream: str | None = None
    says: str = ""
    form: Mapping[str, Schema] | None = None
    errors: tuple[int, ...] = ()
    takes_wishes: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """The routes of one API, by method and path, and the schemas that they name."""

    routes: Mapping[str, Described]
    schemas: Mapping[str, Schema] = field(default_factory=dict)
