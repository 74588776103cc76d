"""Settings for some models alone: ``[models."phi-4-mini*"]`` in ``config.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from daemon.durations import KeepAlive
from registry.model import Model
from selector.filters import is_meant


class ModelOverride(BaseModel):
    """What is not said here is as for all models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context_tokens: int | None = Field(None, ge=256, description="instead of max_context_tokens")
    threads: int | None = Field(None, ge=1, le=1024, description="threads of each of these models")
    keep_alive: KeepAlive = Field(None, description="how long it stays loaded when it is idle; -1: for ever")

    @property
    def has_keep_alive(self) -> bool:
        """None is a time, for ever, where somebody said so."""
        return "keep_alive" in self.model_fields_set

    def said(self) -> dict[str, Any]:
        """What is said here, by name, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


NOTHING_SAID = ModelOverride()


@dataclass(frozen=True, slots=True)
class Applied:
    """The override of one model; ``pattern`` is the glob that it stands under, None if there is none."""

    pattern: str | None = None
    override: ModelOverride = NOTHING_SAID


NO_OVERRIDE = Applied()


def override_of(model: Model, overrides: Mapping[str, ModelOverride]) -> Applied:
    """One counts alone: the exact name (id, name or alias) before any glob, and then the longest glob.

    Of two that are equally long the one that stands first.
    """
    names = {name.casefold() for name in (model.id, model.name, model.alias)}
    fit = [pattern for pattern in overrides if pattern.casefold() in names or is_meant(model, pattern)]
    best = max(fit, key=lambda pattern: (pattern.casefold() in names, len(pattern)), default=None)
    return Applied(best, overrides[best]) if best is not None else NO_OVERRIDE
