"""The id of the request that is being answered: in its response, in errors, and in every line of the log about it."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

# What may stand in a log and in a header without being able to look like something else.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
# It follows a request into the tasks and threads that are started for it.
_current: ContextVar[str | None] = ContextVar("slmreg_request_id", default=None)


def begin(given: str | None) -> str:
    """The id of the request that starts here: the client's own if that is sane, else a new one."""
    request_id = given if given is not None and _SANE.fullmatch(given) else uuid.uuid4().hex
    _current.set(request_id)
    return request_id


def current() -> str | None:
    """None outside of a request."""
    return _current.get()
