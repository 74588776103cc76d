"""How long a model stays loaded, as people and Ollama's clients write it."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def as_keep_alive(value: object) -> float | None:
    """Seconds; None is for ever. ``value`` is a number of seconds, or a text such as "90", "5m", "1h30m" or "-1".

    Everything below 0 is for ever. Raises ValueError.
    """
    if value is None or isinstance(value, bool):
        raise ValueError(_advice(value))
    if isinstance(value, int | float):
        return _seconds(float(value))
    text = str(value).strip().lower()
    sign = -1.0 if text.startswith("-") else 1.0
    text = text.lstrip("+-")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return _seconds(sign * float(text))
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(_advice(value))
    return _seconds(sign * sum(float(number) * _UNITS_S[unit] for number, unit in parts))


def _seconds(value: float) -> float | None:
    if math.isnan(value):
        raise ValueError(_advice(value))
    return None if value < 0 or math.isinf(value) else value


def _advice(value: object) -> str:
    return f'{value!r} is no time: use seconds (300), or text such as "5m" or "1h30m"; 0 is not at all, -1 for ever'


def _written(seconds: float | None) -> float:
    return -1.0 if seconds is None else seconds


# Seconds; None is for ever, and written as it may be read again.
KeepAlive = Annotated[float | None, BeforeValidator(as_keep_alive), PlainSerializer(_written, when_used="json")]
