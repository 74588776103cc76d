"""Which model is this? Name, version and alias from what the folder declares, or from where it lies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from registry.genai_config import execution_provider
from registry.model import Device, ExecutionProvider

NO_VERSION = "0"
MAX_NAME_CHARACTERS = 200
_FOUNDRY_NAME = re.compile(
    r"(?P<base>.+?)-(?P<provider>generic|cuda|trt-?rtx|tensorrt|openvino|qnn|vitis(?:ai)?|webgpu|migraphx|dml|directml)"
    r"-(?P<device>cpu|gpu|npu)(?:-(?P<version>\d{1,20}))?",
    re.IGNORECASE,
)
_VERSION_FOLDER = re.compile(r"v(\d{1,20})", re.IGNORECASE)
# Words that say how a model was exported, not which it is. A folder name made only of these is passed over:
# onnx, model, cpu_and_mobile, cpu-int4-rtn-block-32-acc-level-4, gpu-fp16, v2.
_EXPORT_WORDS = re.compile(
    r"(?:v?\d+|acc|and|awq|bf16|block|cpu|cuda|directml|dml|fp16|fp32|genai|generic|gptq|gpu|int4|int8|k|kquant|latest|"
    r"level|mixed|mobile|model|models|npu|olive|onnx|onnxruntime|openvino|ort|out|output|qnn|quantized|rtn|snapshots|"
    r"trt|uint4|web|webgpu)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """``provider`` and ``device`` are what the name says, None where it says nothing. ``source``: where it is from."""

    name: str
    version: str
    alias: str
    provider: ExecutionProvider | None
    device: Device | None
    source: str


def declared_identity(declared: str) -> Identity | None:
    """From ``Name`` in inference_model.json, ``name:version``; None if that is no name."""
    name, _, version = declared.strip().rpartition(":")
    if not name or not re.fullmatch(r"[0-9]{1,20}", version):
        name, version = declared.strip(), NO_VERSION
    if not name or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        return None
    return _identity(name, version, source="inference_model.json")


def folder_identity(folder: Path, root: Path) -> Identity:
    """From the folder's name, or the nearest parent below ``root`` whose name says more than how it was exported."""
    below = [part for part in folder.relative_to(root).parts if part] if folder.is_relative_to(root) else []
    meaningful = next((part for part in reversed(below) if not is_export_name(part)), None)
    chosen = meaningful or (below[-1] if below else folder.name or "model")
    foundry = _FOUNDRY_NAME.fullmatch(chosen)
    if foundry and foundry["version"]:
        return _identity(_clean(chosen[: foundry.start("version") - 1]), foundry["version"], source="folder name")
    leaf = _VERSION_FOLDER.fullmatch(below[-1]) if below and meaningful else None
    return _identity(_clean(chosen), leaf[1] if leaf else NO_VERSION, source="folder name")


def is_export_name(name: str) -> bool:
    """True for a folder name that only says how a model was exported."""
    words = [word for word in re.split(r"[-_. ]+", name) if word]
    return all(_EXPORT_WORDS.fullmatch(word) for word in words)


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


def _clean(name: str) -> str:
    printable = "".join(character if character.isprintable() else "-" for character in name).strip()
    return printable[:MAX_NAME_CHARACTERS] or "model"
