"""How the command line names a place in ``config.toml``: ``port``, ``keep_alive_models.phi-4*``,
``models.phi-4*.threads``."""

from __future__ import annotations

import difflib
from typing import Any

from daemon.config.lines import KeyPath
from daemon.model_overrides import ModelOverride
from daemon.settings import Settings
from registry.errors import SettingsError

# Settings that are tables: what comes after their name is a glob or a task.
TABLES = frozenset(name for name, field in Settings.model_fields.items() if field.default == {})
OVERRIDES = "models"


def parse_key(key: str) -> KeyPath:
    """The path of a setting, or of an entry in one that is a table. Globs may have dots in them, and may stand in
    quotes.

    Raises SettingsError for what is no setting.
    """
    name, dot, entry = key.strip().partition(".")
    if name not in Settings.model_fields:
        near = difflib.get_close_matches(name, Settings.model_fields, n=1)
        hint = f"Did you mean {near[0]}?" if near else "`slmreg config show` lists them."
        raise SettingsError(f"There is no setting {name}. {hint}")
    if not dot:
        return (name,)
    if name not in TABLES:
        raise SettingsError(f"{name} is no table: leave out .{entry}.")
    if name != OVERRIDES:
        return (name, _bare(entry))
    glob, dot, leaf = entry.rpartition(".")
    if dot and leaf in ModelOverride.model_fields:
        return (name, _bare(glob), leaf)
    if entry.endswith(('"', "'")):
        return (name, _bare(entry))
    near = difflib.get_close_matches(leaf, ModelOverride.model_fields, n=1)
    if near:
        raise SettingsError(f"A model has no setting {leaf} of its own. Did you mean {name}.{glob}.{near[0]}?")
    return (name, entry)


def value_at(values: Any, path: KeyPath) -> Any:
    """What stands there, None if nothing does."""
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _bare(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text
