"""Half a surrogate pair: JSON, terminals and models can make one, and no UTF-8 can carry it."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    """``text`` with a question mark for each half pair, so that it can be sent and printed."""
    return text.encode("utf-8", "replace").decode()
