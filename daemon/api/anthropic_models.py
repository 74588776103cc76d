"""The list of models as Anthropic's clients read it: a page at a time, and by their own names of things.

Errors at these addresses are OpenAI's, of which Anthropic's clients find the type and the message in the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daemon.shapes import Json
from registry.errors import InvalidRequest

MAX_PAGE = 1000
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Page:
    """``limit`` models behind ``after_id``, or, the last of them, before ``before_id``."""

    limit: int
    after_id: str | None = None
    before_id: str | None = None

    def of(self, models: Sequence[Json]) -> Json:
        """Raises InvalidRequest where there is no model to go on from."""
        first = 0 if self.after_id is None else _place(models, self.after_id, "after_id") + 1
        end = len(models) if self.before_id is None else _place(models, self.before_id, "before_id")
        if self.before_id is not None:
            first = max(first, end - self.limit)
        page = models[first:end][: self.limit]
        rest = first if self.before_id is not None else end - first - len(page)
        return {
            "data": page,
            "has_more": rest > 0,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }


def model_info(name: str, alias: str | None = None, most_tokens: int | None = None) -> Json:
    """``most_tokens``: prompt and answer together, if that is known.

    Nobody knows when a model was made, which they write as the year 1970.
    """
    return {
        "type": "model",
        "id": name,
        "display_name": alias or name,
        "created_at": _UNKNOWN_TIME,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "capabilities": None,
        "max_input_tokens": most_tokens,
        "max_tokens": most_tokens,
    }


def _place(models: Sequence[dict[str, Any]], id: str, param: str) -> int:
    place = next((number for number, model in enumerate(models) if model["id"] == id), None)
    if place is None:
        raise InvalidRequest(f"There is no model {id!r:.100} to go on from. Begin again without it.", param=param)
    return place
