"""Models and presets as Ollama describes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from daemon.catalog import Catalog
from daemon.modelfile import parameter_lines, write_modelfile
from daemon.pool.account import SessionSnapshot
from daemon.presets import LATEST
from daemon.shapes import Json
from registry.model import Device, Model, Preset, Task

FORMAT = "onnx"
# What Ollama shows of a model that stays: a time that nobody will see.
FOR_EVER = timedelta(days=36_500)

_CAPABILITIES: Mapping[str, frozenset[Task]] = {
    "completion": frozenset({Task.CHAT, Task.CODE, Task.REASONING, Task.MATH}),
    "tools": frozenset({Task.TOOLS}),
    "vision": frozenset({Task.VISION}),
    "embedding": frozenset({Task.EMBEDDINGS}),
}


class Cards:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def tag(self, model: Model) -> Json:
        return {
            "name": model.id,
            "model": model.id,
            "modified_at": _modified_at(model),
            "size": model.size_bytes,
            "digest": _digest(model.id, model.content),
            "details": _details(model),
        }

    def preset_tag(self, preset: Preset) -> Json:
        """With what is known of the model that it stands for now."""
        name = preset.name if ":" in preset.name else f"{preset.name}{LATEST}"
        model = self._model_of(preset)
        return {
            "name": name,
            "model": name,
            "modified_at": _time(datetime.fromtimestamp(preset.modified_s, UTC)),
            "size": model.size_bytes if model is not None else 0,
            "digest": _digest(name, write_modelfile(preset)),
            "details": _details(model, parent=preset.base),
        }

    def running(self, session: SessionSnapshot, model: Model) -> Json:
        """``expires_at`` is far away for what is kept, warm, or in use."""
        stays = FOR_EVER if session.expires_s is None else timedelta(seconds=session.expires_s)
        return {
            "name": model.id,
            "model": model.id,
            "size": session.resident_bytes,
            "digest": _digest(model.id, model.content),
            "details": _details(model),
            "expires_at": _time(datetime.now(UTC) + stays),
            "size_vram": 0 if model.device is Device.CPU else session.resident_bytes,
            "context_length": session.context_tokens,
        }

    def of_model(self, model: Model) -> Json:
        return {
            "modelfile": f"FROM {model.id}\n",
            "parameters": "",
            "template": "",
            "details": _details(model),
            "model_info": self._info(model),
            "capabilities": _capabilities(model),
            "modified_at": _modified_at(model),
            **({"license": model.license} if model.license is not None else {}),
        }

    def of_preset(self, preset: Preset) -> Json:
        model = self._model_of(preset)
        known = self.of_model(model) if model is not None else {"model_info": {}, "capabilities": ["completion"]}
        return {
            **known,
            "modelfile": write_modelfile(preset),
            "parameters": "\n".join(parameter_lines(preset.parameters)),
            "template": "",
            "system": preset.system,
            "messages": [dict(message) for message in preset.messages],
            "details": _details(model, parent=preset.base),
            "modified_at": _time(datetime.fromtimestamp(preset.modified_s, UTC)),
        }

    def _model_of(self, preset: Preset) -> Model | None:
        return next(iter(self._catalog.requested(preset.name)), None)

    def _info(self, model: Model) -> Json:
        kind = model.model_type
        return {
            "general.architecture": kind,
            "general.basename": model.name,
            "general.parameter_count": model.parameters,
            # No request gets more than the settings allow, whatever a model could take.
            f"{kind}.context_length": min(model.context_tokens, self._catalog.most_context_tokens(model)),
            f"{kind}.vocab_size": model.vocab_size,
        }


def _details(model: Model | None, *, parent: str = "") -> Json:
    family = model.family if model is not None else ""
    return {
        "parent_model": parent,
        "format": FORMAT,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": _size(model.parameters if model is not None else None),
        "quantization_level": str(model.precision).upper() if model is not None else "",
    }


def _capabilities(model: Model) -> list[str]:
    found = [name for name, tasks in _CAPABILITIES.items() if tasks.intersection(model.tasks)]
    return [*found, "thinking"] if model.can_reason else found


def _size(parameters: int | None) -> str:
    """As Ollama writes it: "3.8B", "135.2M"; "" where nobody knows."""
    if parameters is None:
        return ""
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.1f}M"


def _digest(name: str, content: str) -> str:
    """64 hexadecimal digits that change when the model does. Not of its files: those take minutes to read."""
    return hashlib.sha256(f"{name}\n{content}".encode("utf-8", "backslashreplace")).hexdigest()


def _modified_at(model: Model) -> str:
    try:
        changed_s = model.path.stat().st_mtime
    except OSError:  # gone a moment ago
        changed_s = 0.0
    return _time(datetime.fromtimestamp(changed_s, UTC))


def _time(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
