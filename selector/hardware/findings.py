"""What a reader saw of one GPU or NPU, and what follows: can an execution provider of this installation drive it?

An accelerator that is there and cannot be used always says why, and which package to install.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.model import Device, ExecutionProvider
from selector.hardware.values import Accelerator

NVIDIA, AMD, INTEL, APPLE, QUALCOMM = "NVIDIA", "AMD", "Intel", "Apple", "Qualcomm"


@dataclass(frozen=True, slots=True)
class Found:
    """One accelerator as a reader saw it. ``blocked`` says why no program could compute on it now, if that is known."""

    vendor: str
    name: str
    device: Device = Device.GPU
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    driver: str | None = None
    is_integrated: bool = False
    shared_memory_bytes: int | None = None
    blocked: str | None = None


_DRIVERS: dict[tuple[str, Device], tuple[ExecutionProvider, ...]] = {
    (NVIDIA, Device.GPU): (
        ExecutionProvider.CUDA,
        ExecutionProvider.TENSORRT_RTX,
        ExecutionProvider.DIRECTML,
        ExecutionProvider.WEBGPU,
    ),
    (AMD, Device.GPU): (ExecutionProvider.MIGRAPHX, ExecutionProvider.DIRECTML, ExecutionProvider.WEBGPU),
    (INTEL, Device.GPU): (ExecutionProvider.OPENVINO, ExecutionProvider.DIRECTML, ExecutionProvider.WEBGPU),
    (APPLE, Device.GPU): (ExecutionProvider.WEBGPU,),
    (QUALCOMM, Device.GPU): (ExecutionProvider.DIRECTML, ExecutionProvider.WEBGPU),
    (INTEL, Device.NPU): (ExecutionProvider.OPENVINO,),
    (AMD, Device.NPU): (ExecutionProvider.VITIS_AI,),
    (QUALCOMM, Device.NPU): (ExecutionProvider.QNN,),
}

_DIRECTML = "Install onnxruntime-genai-directml in place of onnxruntime-genai to use it."
_OPENVINO = "Install onnxruntime-openvino in place of onnxruntime to use it."
_WINDOWS_ADVICE = {
    (NVIDIA, Device.GPU): (
        "Install onnxruntime-genai-cuda (or onnxruntime-genai-directml) in place of onnxruntime-genai to use it."
    ),
    (AMD, Device.GPU): _DIRECTML,
    (INTEL, Device.GPU): f"{_DIRECTML} For OpenVINO models: onnxruntime-openvino in place of onnxruntime.",
    (QUALCOMM, Device.GPU): _DIRECTML,
}
_ADVICE = {
    (NVIDIA, Device.GPU): "Install onnxruntime-genai-cuda in place of onnxruntime-genai to use it.",
    (
        AMD,
        Device.GPU,
    ): "Install onnxruntime-migraphx, which AMD publishes with ROCm, in place of onnxruntime to use it.",
    (INTEL, Device.GPU): _OPENVINO,
    (APPLE, Device.GPU): "ONNX Runtime's package for macOS brings none; models run on the CPU.",
    (INTEL, Device.NPU): _OPENVINO,
    (AMD, Device.NPU): "Install the onnxruntime of AMD's Ryzen AI Software (Vitis AI) to use it.",
    (QUALCOMM, Device.NPU): (
        "Install onnxruntime-qnn below version 2 in place of onnxruntime to use it "
        "(from 2 on it is a plugin, and slmreg loads none)."
    ),
    (APPLE, Device.NPU): "ONNX Runtime GenAI has none for it.",
}


def judge(found: Found, installed: Sequence[ExecutionProvider], *, system: str) -> Accelerator:
    """``system`` is that of ``sys.platform``: which package to install depends on it."""
    kind = (found.vendor, found.device)
    drivers = tuple(provider for provider in _DRIVERS.get(kind, ()) if provider in installed)
    if found.blocked is not None:
        drivers = ()
    return Accelerator(
        name=found.name,
        device=found.device,
        memory_total_bytes=None if found.is_integrated else found.memory_total_bytes,
        memory_available_bytes=None if found.is_integrated else found.memory_available_bytes,
        usable=bool(drivers),
        reason=None if drivers else found.blocked or _no_provider(kind, system),
        execution_providers=drivers,
        vendor=found.vendor,
        driver=found.driver,
        is_integrated=found.is_integrated,
        shared_memory_bytes=found.shared_memory_bytes,
    )


def _no_provider(kind: tuple[str, Device], system: str) -> str:
    advice = _WINDOWS_ADVICE.get(kind) if system == "win32" else None
    return f"No installed execution provider drives it. {advice or _ADVICE.get(kind, '')}".strip()
