"""``Presets``: names that people gave to models together with a way to use them, and what these mean for a request."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from daemon.modelfile import ROLES
from daemon.options import Options, read_options
from daemon.pool.protocol import Generate
from daemon.wants import NO_WANTS, is_auto, task_for
from registry.errors import InvalidRequest, ModelNotFound, PresetNotFound
from registry.model import Preset
from registry.store import Registry

# What Ollama's clients put behind a name that has no tag.
LATEST = ":latest"
# So many are more than a person can tell apart; each may be as large as a request.
MOST_PRESETS = 1000
MOST_MESSAGES = 256

_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,126}(:[a-z0-9._-]{1,64})?", re.IGNORECASE)
_SYSTEM_ROLES = ("system", "developer")


class Presets:
    """``is_model`` says whether a name is one of a model that is here. Safe to use from several threads."""

    def __init__(self, registry: Registry, is_model: Callable[[str], bool]) -> None:
        self._registry = registry
        self._is_model = is_model

    def all(self) -> tuple[Preset, ...]:
        """By name."""
        return self._registry.presets()

    def find(self, name: str) -> Preset | None:
        return self._registry.find_preset(without_latest(name))

    def get(self, name: str) -> Preset:
        """Raises PresetNotFound."""
        preset = self.find(name)
        if preset is None:
            raise PresetNotFound(name, [each.name for each in self.all()])
        return preset

    def create(
        self,
        name: str,
        base: str,
        *,
        system: str = "",
        parameters: Mapping[str, Any] | None = None,
        messages: Sequence[Mapping[str, Any]] = (),
    ) -> Preset:
        """Keep a preset in place of an older one with this name.

        ``base`` is a model that is here, ``auto``, ``auto:<task>``, or another preset, of which everything is taken
        over that is not said anew. Raises InvalidRequest, UnsupportedParameter, UnknownTask, ModelNotFound.
        """
        name = self._free_name(name)
        drawn = self._drawn_from(base)
        said = {key: value for key, value in {**drawn.parameters, **(parameters or {})}.items() if value is not None}
        read_options(said, of="parameter")
        preset = Preset(
            name=name,
            base=drawn.base,
            system=system or drawn.system,
            parameters=said,
            messages=tuple(map(_message, messages)) or drawn.messages,
            modified_s=time.time(),
        )
        if len(preset.messages) > MOST_MESSAGES:
            raise InvalidRequest(
                f"A preset can have {MOST_MESSAGES} messages, and not {len(preset.messages)}.", param="messages"
            )
        self._registry.set_preset(preset)
        return preset

    def remove(self, name: str) -> str:
        """The name it had. Raises PresetNotFound, and InvalidRequest for a model: those are never deleted."""
        preset = self.find(name)
        if preset is None and self._is_model(without_latest(name)):
            raise InvalidRequest(
                f"{name} is a model on the disk, which slmreg never deletes; only presets can be deleted.",
                param="model",
            )
        preset = preset or self.get(name)
        self._registry.remove_preset(preset.name)
        return preset.name

    def _free_name(self, name: str) -> str:
        name = without_latest(name)
        if _NAME.fullmatch(name) is None or is_auto(name):
            raise InvalidRequest(
                f"{name!r:.100} cannot be the name of a preset: that has up to 127 letters, digits and . _ - /, and "
                "perhaps a tag behind a colon; 'auto' is taken.",
                param="model",
            )
        known = self.find(name)
        if known is None and self._is_model(name):
            raise InvalidRequest(f"{name} is already a model here. Give the preset another name.", param="model")
        if known is None and len(self.all()) >= MOST_PRESETS:
            raise InvalidRequest(f"There are {MOST_PRESETS} presets already. Remove one first.", param="model")
        return name

    def _drawn_from(self, base: str) -> Preset:
        """``base`` as a preset that changes nothing, or the one that it is. Raises ModelNotFound, UnknownTask."""
        base = without_latest(base)
        known = self.find(base)
        if known is not None:
            return known
        if is_auto(base):
            if ":" in base:
                task_for(base.lower(), NO_WANTS)
        elif not self._is_model(base):
            raise ModelNotFound(base)
        return Preset(name=base, base=base)


def without_latest(name: str) -> str:
    """``name`` without the tag that Ollama's clients add to names which have none."""
    name = name.strip()
    return name[: -len(LATEST)] if name.casefold().endswith(LATEST) and len(name) > len(LATEST) else name


def options_of(preset: Preset | None) -> Options:
    """Raises InvalidRequest, UnsupportedParameter for a preset of a newer slmreg that this one does not understand."""
    return Options() if preset is None else read_options(preset.parameters, of=f"parameter of the preset {preset.name}")


def with_preset(request: Generate, preset: Preset) -> Generate:
    """``request`` with what the preset says where it says nothing itself.

    Raises InvalidRequest, UnsupportedParameter.
    """
    options = options_of(preset)
    unsaid = {name: value for name, value in options.sampling().items() if getattr(request.sampling, name) is None}
    return replace(
        request,
        messages=_with_preface(request.messages, preset),
        sampling=replace(request.sampling, **unsaid),
        max_tokens=options.max_tokens if request.max_tokens is None else request.max_tokens,
        stop=request.stop or list(options.stop or ()),
    )


def _with_preface(messages: list[dict[str, Any]], preset: Preset) -> list[dict[str, Any]]:
    """The request's own system text, else the preset's; then the preset's messages, then the other ones."""
    own = next((place for place, each in enumerate(messages) if each.get("role") not in _SYSTEM_ROLES), len(messages))
    system = messages[:own]
    if not any(each.get("role") in _SYSTEM_ROLES for each in messages) and preset.system:
        system = [{"role": "system", "content": preset.system}]
    return [*system, *map(dict, preset.messages), *messages[own:]]


def _message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises InvalidRequest for what is more than a role and a text."""
    role, content = message.get("role"), message.get("content")
    if role not in ROLES or not isinstance(content, str) or set(message) - {"role", "content"}:
        raise InvalidRequest(
            f"The messages of a preset have a role ({', '.join(ROLES)}) and a content, and nothing else.",
            param="messages",
        )
    return {"role": role, "content": content}
