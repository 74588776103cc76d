"""GPUs of this machine, and whether an execution provider of this installation can drive them.

Two readers so far: ``nvidia-smi`` wherever it is on PATH, and ``/sys/class/drm`` on Linux. A machine on which neither
answers has no accelerator as far as slmreg knows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from registry.model import Device, ExecutionProvider
from selector.hardware.values import Accelerator

# A command in, its standard output back; None if it is not there, fails, or takes too long.
Query = Callable[[Sequence[str]], str | None]

NVIDIA_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
# nvidia-smi takes 20-300 ms, and several seconds where the driver has to wake up first.
QUERY_TIMEOUT_S = 5.0
MIB = 1024 * 1024

_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_DRIVERS: dict[str, tuple[ExecutionProvider, ...]] = {
    "NVIDIA": (
        ExecutionProvider.CUDA,
        ExecutionProvider.TENSORRT_RTX,
        ExecutionProvider.DIRECTML,
        ExecutionProvider.WEBGPU,
    ),
    "AMD": (ExecutionProvider.MIGRAPHX, ExecutionProvider.DIRECTML, ExecutionProvider.WEBGPU),
    "Intel": (ExecutionProvider.OPENVINO, ExecutionProvider.DIRECTML, ExecutionProvider.WEBGPU),
}
_ADVICE = {
    "NVIDIA": "Install onnxruntime-genai-cuda in place of onnxruntime-genai to use it.",
    "AMD": "It needs an onnxruntime build with MIGraphX or WebGPU (Linux), or onnxruntime-genai-directml (Windows).",
    "Intel": "It needs onnxruntime-openvino, or onnxruntime-genai-directml on Windows.",
}


def find_accelerators(installed: Sequence[ExecutionProvider], *, root: Path, query: Query) -> tuple[Accelerator, ...]:
    """Every GPU that can be seen, usable or not. Never raises."""
    nvidia = _nvidia(query(NVIDIA_QUERY) or "", installed)
    # Where nvidia-smi answered it knows more than the bare vendor id in sysfs.
    seen = {"NVIDIA"} if nvidia else set()
    return (*nvidia, *_drm(root / "sys/class/drm", installed, skip=seen))


def run_query(command: Sequence[str]) -> str | None:
    """Run ``command`` if its program is on PATH; at most ``QUERY_TIMEOUT_S``."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, *command[1:]],
            capture_output=True,
            check=True,
            timeout=QUERY_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout


def _nvidia(output: str, installed: Sequence[ExecutionProvider]) -> list[Accelerator]:
    """One accelerator per CSV line "name, total MiB, free MiB"; "[N/A]" stands where memory is shared with the host."""
    found = []
    for line in output.splitlines():
        fields = [field.strip() for field in line.rsplit(",", 2)]
        if len(fields) == 3 and fields[0]:
            found.append(_accelerator("NVIDIA", fields[0], _mebibytes(fields[1]), _mebibytes(fields[2]), installed))
    return found


def _drm(directory: Path, installed: Sequence[ExecutionProvider], skip: set[str]) -> list[Accelerator]:
    try:
        cards = sorted(card for card in directory.iterdir() if re.fullmatch(r"card\d+", card.name))
    except OSError:
        return []
    found = []
    for card in cards:
        device = card / "device"
        vendor = _VENDORS.get(_text(device / "vendor"))
        if vendor is None or vendor in skip:
            continue
        name = _text(device / "product_name") or f"{vendor} GPU {_text(device / 'device')}".strip()
        # Only amdgpu says; an Intel GPU's memory is the machine's RAM unless it is a card of its own.
        total = _count(_text(device / "mem_info_vram_total"))
        used = _count(_text(device / "mem_info_vram_used"))
        free = max(0, total - used) if total is not None and used is not None else None
        found.append(_accelerator(vendor, name, total, free, installed))
    return found


def _accelerator(
    vendor: str, name: str, total: int | None, free: int | None, installed: Sequence[ExecutionProvider]
) -> Accelerator:
    drivers = tuple(provider for provider in _DRIVERS[vendor] if provider in installed)
    reason = None if drivers else f"No installed execution provider drives it. {_ADVICE[vendor]}"
    return Accelerator(
        name=name,
        device=Device.GPU,
        memory_total_bytes=total,
        memory_available_bytes=free,
        usable=bool(drivers),
        reason=reason,
        execution_providers=drivers,
    )


def _mebibytes(text: str) -> int | None:
    count = _count(text)
    return None if count is None else count * MIB


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
