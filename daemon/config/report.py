"""Settings in the contract's JSON shapes, as ``GET /slmreg/settings`` and ``slmreg config show --json`` tell them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from daemon.config.effect import Effect, effect_of
from daemon.config.layers import Effective, Origin
from daemon.config.present import Reloaded
from daemon.settings import Settings
from daemon.shapes import Json

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def settings_json(
    effective: Effective, path: Path, *, waiting: Mapping[str, Any] | None = None, problem: str | None = None
) -> Json:
    """``waiting``: the values, by name, that take a restart to go for anything."""
    values = plain(effective.settings)
    defaults = plain(Settings())
    told = {
        name: {
            "key": name,
            "value": values[name],
            "default": defaults[name],
            "origin": str(effective.origins.get(name, Origin()).kind),
            "where": effective.origins.get(name, Origin()).where,
            "takes_effect": str(effect_of(name)),
            "needs_restart": effect_of(name) is Effect.RESTART,
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    }
    for name, value in (waiting or {}).items():
        told[name]["waiting"] = _ANY.dump_python(value, mode="json")
    return {"path": str(path), "problem": problem, "data": list(told.values())}


def reloaded_json(reloaded: Reloaded) -> Json:
    return {
        "changed": list(reloaded.changed),
        "changed_for_loads": list(reloaded.changed_for_loads),
        "need_restart": list(reloaded.wait),
    }


def plain(settings: Settings) -> Json:
    """As JSON; of an override only what it says."""
    overrides = {pattern: override.said() for pattern, override in settings.models.items()}
    return {**settings.model_dump(mode="json"), "models": overrides}
