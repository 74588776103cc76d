"""Presets as they are kept: by name without case, each a row of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from registry.index.rows import json_text
from registry.model import Preset


def preset_columns(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "base": preset.base,
        "system": json_text(preset.system),
        "parameters": json_text(dict(preset.parameters)),
        "messages": json_text([dict(message) for message in preset.messages]),
        "modified_s": preset.modified_s,
    }


def stored_preset(columns: Mapping[str, Any]) -> Preset:
    """ValueError, KeyError, TypeError: they make no sense."""
    return Preset(
        name=columns["name"],
        base=columns["base"],
        system=str(json.loads(columns["system"])),
        parameters=dict(json.loads(columns["parameters"])),
        messages=tuple(dict(message) for message in json.loads(columns["messages"])),
        modified_s=float(columns["modified_s"]),
    )


def find(presets: Iterable[Preset], name: str) -> Preset | None:
    """Case does not count."""
    wanted = name.strip().casefold()
    return next((preset for preset in presets if preset.name.casefold() == wanted), None)
