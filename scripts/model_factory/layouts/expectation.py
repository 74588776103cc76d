"""What a registry must find out about a folder of a layout, known because the layout was written that way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TEXT_TASKS = ("chat", "code", "reasoning", "math")
ALL_TEXT_TASKS = (*TEXT_TASKS, "tools")
"""Those of a model with the factory's own chat template, which has a place for tools."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One folder, relative to the layout's root.

    ``facts`` are fields of ``registry.model.Model`` by name; without any the folder is a problem and no model.
    ``problems`` are codes. ``answers``: onnxruntime-genai loads it on a CPU, and it talks.
    """

    path: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ready"
    problems: tuple[str, ...] = ()
    answers: bool = False
