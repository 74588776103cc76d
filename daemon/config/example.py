"""An annotated ``config.toml``, made from the settings themselves, with everything commented out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from daemon.config.effect import WHEN, effect_of
from daemon.config.keys import OVERRIDES
from daemon.config.report import plain
from daemon.model_overrides import ModelOverride
from daemon.settings import Settings

_WIDTH = 100
_UNITS = {"_bytes": "bytes", "_ms": "milliseconds", "_s": "seconds", "_tokens": "tokens"}
_HEAD = """\
Settings of slmreg. Everything here is commented out and shows its default; SLMREG_<NAME> in the environment beats what
stands here, and flags of `slmreg serve` beat both. `slmreg config check` says what is wrong with this file.
"""
_OVERRIDES_HEAD = """\
For some models alone, by a glob on their id, name or alias: the exact name counts before a glob, the longest glob
before the others, and what is not said is as for all models.
"""
_GLOB = "phi-4-mini*"


def example() -> str:
    """A file that changes nothing, and everything of which may be taken out of its comment."""
    return "\n".join((*_comment(_HEAD), "", *_settings(), *_overrides()))


def _settings() -> Iterator[str]:
    defaults = plain(Settings())
    for name, field in Settings.model_fields.items():
        if name == OVERRIDES:
            continue
        yield from _comment(f"{_sentence(field.description)}{_facts(name, field)}")
        yield f"# {name} = {_toml(defaults[name] if defaults[name] is not None else _sample(name, field))}"
        yield ""


def _overrides() -> Iterator[str]:
    yield from _comment(_OVERRIDES_HEAD)
    yield f'# [{OVERRIDES}."{_GLOB}"]'
    for name, field in ModelOverride.model_fields.items():
        yield from _comment(_sentence(field.description))
        yield f"# {name} = {_toml(_sample(name, field))}"
    yield ""


def _facts(name: str, field: FieldInfo) -> str:
    """Unit, bounds, and when a change takes effect."""
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), None)
    words = {Ge: ("at least", "ge"), Gt: ("more than", "gt"), Le: ("at most", "le"), Lt: ("less than", "lt")}
    bounds = [
        f"{word} {getattr(bound, attribute):g}"
        for bound in field.metadata
        for kind, (word, attribute) in words.items()
        if isinstance(bound, kind)
    ]
    facts = [unit, *bounds, "an example, as it is unset" if field.default is None else None]
    told = ", ".join(fact for fact in facts if fact is not None)
    return f" {_sentence(told) if told else ''} Changes count {WHEN[effect_of(name)]}.".replace("  ", " ")


def _sample(name: str, field: FieldInfo) -> Any:
    """Something that could stand there, for what has no default."""
    kinds = (field.annotation, *get_args(field.annotation))
    if Path in kinds:
        return "~/slmreg.sock"
    if "keep_alive" in name:
        return "30m"
    if name.endswith("_bytes"):
        return 8 * 1024**3
    if name.endswith("_tokens"):
        return 4096
    return 4 if int in kinds else 0.5


def _toml(value: Any) -> str:
    """Of what defaults and samples are: numbers, texts, lists of texts, and empty tables."""
    return json.dumps(value, ensure_ascii=False)


def _sentence(text: str | None) -> str:
    text = (text or "").strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _comment(text: str) -> Iterator[str]:
    for line in wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
