"""Which model is this? Name, version and alias from what the folder declares, or from where it lies.

A name never depends on which other folders there are, so it stays when they come and go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.layouts.hub import HubRevision
from registry.layouts.providers import execution_provider
from registry.model import Device, ExecutionProvider

NO_VERSION = "0"
MAX_NAME_CHARACTERS = 200
_FOUNDRY_NAME = re.compile(
    r"(?P<base>.+?)-(?P<provider>generic|cuda|trt-?rtx|tensorrt|openvino|qnn|vitis(?:ai)?|webgpu|migraphx|dml|directml)"
    r"-(?P<device>cpu|gpu|npu)(?:-(?P<version>\d{1,20}))?",
    re.IGNORECASE,
)
_VERSION_FOLDER = re.compile(r"v?(\d{1,20})", re.IGNORECASE)
_SEPARATORS = re.compile(r"[-_. ]+")
# Words of folder names that say how a model was exported, not which it is. A variant has one of the telling ones; the
# tools leave the silent ones everywhere.
_TOOLS = "genai|olive|onnx|onnxruntime|ort"
_VARIANTS = (
    "awq|bf16|cpu|cuda|directml|dml|fp16|fp32|gptq|gpu|int4|int8|kquant|migraphx|npu|openvino|qnn|quantized|rtn|"
    "tensorrt|trt|trtrtx|uint4|uint8|vitis|vitisai|webgpu"
)
_SILENT_WORD = re.compile(
    rf"(?:{_TOOLS}|v?\d+|and|latest|mobile|models?|outputs?|out|snapshots|variants?|web)", re.IGNORECASE
)
_TELLING_WORD = re.compile(rf"(?:{_VARIANTS}|acc|block|generic|k|level|mixed)", re.IGNORECASE)
_TOOL_SUFFIX = re.compile(rf"(?<=.)(?:[-_. ](?:{_TOOLS}))+$", re.IGNORECASE)
_EXPORT_SUFFIX = re.compile(
    rf"(?<=.)(?:[-_. ](?:acc-level-\d{{1,2}}|block-\d{{1,4}}|{_TOOLS}|{_VARIANTS}))+$", re.IGNORECASE
)
# ``auto`` and ``auto:<task>`` ask slmreg to choose, so no model can be asked for by that name.
_RESERVED_NAME = "auto"


@dataclass(frozen=True, slots=True)
class Identity:
    """``provider`` and ``device`` are what the name says, None where it says nothing. ``source``: where it is from."""

    name: str
    version: str
    alias: str
    provider: ExecutionProvider | None
    device: Device | None
    source: str
    publisher: str | None = None


def declared_identity(declared: str, *, source: str = "inference_model.json") -> Identity | None:
    """From a declared id, ``name:version``; None if that is no name."""
    declared = declared.strip()
    name, _, version = declared.rpartition(":")
    if not name or not re.fullmatch(r"[0-9]{1,20}", version):
        name, version = declared, NO_VERSION
    if not name or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        return None
    return _identity(clean_name(name), version, source=source)


def folder_identity(folder: Path, root: Path, hub: HubRevision | None = None) -> Identity:
    """From the nearest part of the path that says more than how the model was exported, down from ``root`` itself.

    What says how it was exported tells variants apart: ``phi/cpu-int4`` is ``phi-cpu-int4`` with the alias ``phi``. In
    a Hugging Face cache the repository stands for the root, and the commit is the version.
    """
    start = hub.snapshot if hub else root
    parts = [part for part in folder.relative_to(start).parts if part] if folder.is_relative_to(start) else []
    chain = [hub.name if hub else root.name, *parts]
    telling = max((index for index, part in enumerate(chain) if not is_export_name(part)), default=-1)
    below = chain[telling + 1 :] if telling >= 0 else []
    base = chain[telling] if telling >= 0 else (chain[-1] or folder.name or "model")
    foundry = _FOUNDRY_NAME.fullmatch(base)
    if foundry and foundry["version"]:
        name, version = base[: foundry.start("version") - 1], foundry["version"]
        identity = _identity(clean_name(name), version, source="folder name")
    elif foundry:
        identity = _identity(clean_name(base), _version(below), source="folder name")
    else:
        alias = base if is_export_name(base) else _EXPORT_SUFFIX.sub("", base)
        name = clean_name(_with_variant(base, below))
        identity = Identity(name, _version(below), clean_name(alias), None, None, "folder name")
    return _in_repository(identity, hub) if hub else identity


def is_export_name(name: str) -> bool:
    """True for a folder name that only says how a model was exported, or nothing at all."""
    return all(_SILENT_WORD.fullmatch(word) or _TELLING_WORD.fullmatch(word) for word in _words(name))


def clean_name(name: str) -> str:
    """``name`` as it can stand in an id, ``name:version``, and be typed: no colon, nothing that cannot be printed."""
    name = name.removesuffix(":latest")
    plain = "".join("-" if character == ":" or not character.isprintable() else character for character in name)
    plain = plain.strip().lstrip("- ")[:MAX_NAME_CHARACTERS].rstrip() or "model"
    return f"{plain}-model" if plain.casefold() == _RESERVED_NAME else plain


def _words(name: str) -> list[str]:
    return [word for word in _SEPARATORS.split(name) if word]


def _telling_words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _words(name) if _TELLING_WORD.fullmatch(word))


def _with_variant(base: str, below: Sequence[str]) -> str:
    """``base``, and what the folders ``below`` it add: each once, so ``cpu_and_mobile/cpu-int4`` adds ``cpu-int4``."""
    added: list[str] = []
    said: frozenset[str] = frozenset()
    for part in reversed(below):
        if not _telling_words(part) <= said:
            added.insert(0, part)
            said |= _telling_words(part)
    return "-".join([_TOOL_SUFFIX.sub("", base), *added]) if added else base


def _version(below: Sequence[str]) -> str:
    versions = [match[1] for part in below if (match := _VERSION_FOLDER.fullmatch(part))]
    return versions[-1] if versions else NO_VERSION


def _in_repository(identity: Identity, hub: HubRevision) -> Identity:
    return Identity(
        identity.name,
        clean_name(hub.version),
        identity.alias,
        identity.provider,
        identity.device,
        "Hugging Face repository",
        hub.publisher,
    )


def _identity(name: str, version: str, *, source: str) -> Identity:
    foundry = _FOUNDRY_NAME.fullmatch(name)
    if foundry is None:
        return Identity(name, version, name, None, None, source)
    device = Device(foundry["device"].lower())
    if foundry["provider"].lower() == "generic":
        # Foundry's generic builds for a GPU run on WebGPU or DirectML: only the configuration says which.
        provider = ExecutionProvider.CPU if device is Device.CPU else None
    else:
        provider = execution_provider(foundry["provider"])
    return Identity(name, version, foundry["base"], provider, device, source)
