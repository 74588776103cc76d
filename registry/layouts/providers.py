"""Execution providers by the names that files, ids and ONNX Runtime itself have for them, and where they run."""

from __future__ import annotations

from registry.model import Device, ExecutionProvider

_EXECUTION_PROVIDERS = {
    "amdgpu": ExecutionProvider.MIGRAPHX,
    "cpu": ExecutionProvider.CPU,
    "cuda": ExecutionProvider.CUDA,
    "dml": ExecutionProvider.DIRECTML,
    "directml": ExecutionProvider.DIRECTML,
    "migraphx": ExecutionProvider.MIGRAPHX,
    "nvtensorrtrtx": ExecutionProvider.TENSORRT_RTX,
    "openvino": ExecutionProvider.OPENVINO,
    "qnn": ExecutionProvider.QNN,
    "ryzenai": ExecutionProvider.VITIS_AI,
    "tensorrt": ExecutionProvider.TENSORRT_RTX,
    "trtrtx": ExecutionProvider.TENSORRT_RTX,
    "vitis": ExecutionProvider.VITIS_AI,
    "vitisai": ExecutionProvider.VITIS_AI,
    "webgpu": ExecutionProvider.WEBGPU,
}
_DEVICES = {
    ExecutionProvider.CPU: Device.CPU,
    ExecutionProvider.OPENVINO: Device.CPU,
    ExecutionProvider.QNN: Device.NPU,
    ExecutionProvider.VITIS_AI: Device.NPU,
}


def execution_provider(name: str) -> ExecutionProvider:
    """By the name that configurations, Foundry ids or ONNX Runtime itself use; UNKNOWN for any other."""
    plain = name.lower().replace("-", "").replace("_", "").removesuffix("executionprovider")
    return _EXECUTION_PROVIDERS.get(plain, ExecutionProvider.UNKNOWN)


def default_device(provider: ExecutionProvider) -> Device:
    """Where a provider runs unless its options say otherwise."""
    return _DEVICES.get(provider, Device.GPU)
