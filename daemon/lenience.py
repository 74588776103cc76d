"""Parameters that are left out instead of refused, where the setting ``ignore_unsupported`` allows it.

Invariant: nothing is left out in silence (the response and the log name it), and never one that says what the answer is
of, what form it has to have, what tools there are, or what must not happen: each API lists those that are mere hints.
"""

from __future__ import annotations

from contextvars import ContextVar
from urllib.parse import quote

# Of the names, which a client makes up, in a header and in the log.
MOST_NAMED = 20
_MAX_NAME = 64

# It follows a request into the threads that are started for it, as its list; None: everything is refused.
_left_out: ContextVar[list[str] | None] = ContextVar("slmreg_left_out", default=None)


def begin(*, is_allowed: bool) -> list[str]:
    """What the request that starts here leaves out is added to this list, while it is read."""
    names: list[str] = []
    _left_out.set(names if is_allowed else None)
    return names


def leave_out(name: str) -> bool:
    """Whether this parameter, which cannot be honoured, may be left out; it then counts as left out."""
    names = _left_out.get()
    if names is None:
        return False
    if name not in names:
        names.append(name)
    return True


def as_text(names: list[str]) -> str:
    """For a header: in ASCII, and no longer than what is sensible."""
    return ", ".join(quote(name[:_MAX_NAME], safe="[]_.") for name in names[:MOST_NAMED])
