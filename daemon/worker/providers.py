"""Which execution providers this installation can use, and on what: ``python -m daemon.worker.providers`` prints JSON.

    {"execution_providers": ["cpu", ...], "devices": [{"execution_provider", "device", "vendor"}, ...]}

A process of its own, because the daemon never imports onnxruntime.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from registry.model import Device, ExecutionProvider

# ONNX Runtime's names. AzureExecutionProvider is in every build and only forwards to a remote service.
_SHORT_NAMES = {
    "CPUExecutionProvider": ExecutionProvider.CPU,
    "CUDAExecutionProvider": ExecutionProvider.CUDA,
    "NvTensorRTRTXExecutionProvider": ExecutionProvider.TENSORRT_RTX,
    "DmlExecutionProvider": ExecutionProvider.DIRECTML,
    "WebGpuExecutionProvider": ExecutionProvider.WEBGPU,
    "OpenVINOExecutionProvider": ExecutionProvider.OPENVINO,
    "QNNExecutionProvider": ExecutionProvider.QNN,
    "VitisAIExecutionProvider": ExecutionProvider.VITIS_AI,
    "MIGraphXExecutionProvider": ExecutionProvider.MIGRAPHX,
}
# onnxruntime-genai drives these two with code of its own, which only some of its packages hold.
_NEEDS_GENAI = {ExecutionProvider.CUDA: "is_cuda_available", ExecutionProvider.DIRECTML: "is_dml_available"}


def full_name(provider: str) -> str:
    """ONNX Runtime's name of a provider; the short one where there is none."""
    return next((name for name, short in _SHORT_NAMES.items() if short == provider), provider)


def short_names(names: Iterable[str]) -> list[ExecutionProvider]:
    """The known ones among ONNX Runtime's ``names``, each once, in the order of ``ExecutionProvider``."""
    known = {_SHORT_NAMES[name] for name in names if name in _SHORT_NAMES}
    return [provider for provider in ExecutionProvider if provider in known]


def drivable(providers: Iterable[ExecutionProvider], genai: Any) -> list[ExecutionProvider]:
    """``providers`` without those that this onnxruntime-genai package cannot use, though onnxruntime could."""
    return [p for p in providers if p not in _NEEDS_GENAI or getattr(genai, _NEEDS_GENAI[p], bool)()]


def listed_devices(devices: Iterable[Any], usable: Collection[ExecutionProvider]) -> Iterator[dict[str, str]]:
    """ONNX Runtime's pairs of provider and device, for the usable providers, each once."""
    seen = set()
    for listed in devices:
        provider = _SHORT_NAMES.get(listed.ep_name, ExecutionProvider.UNKNOWN)
        kind = listed.device.type.name.lower()
        entry = (provider, kind, listed.device.vendor)
        if provider in usable and kind in tuple(Device) and entry not in seen:
            seen.add(entry)
            yield {"execution_provider": provider.value, "device": kind, "vendor": listed.device.vendor}


def installation() -> dict[str, Any]:
    """What the installed packages offer: providers compiled in, and those of devices found through plugins."""
    import onnxruntime
    import onnxruntime_genai

    found = onnxruntime.get_ep_devices()
    names = {*onnxruntime.get_available_providers(), *(device.ep_name for device in found)}
    usable = drivable(short_names(names), onnxruntime_genai)
    return {"execution_providers": usable, "devices": list(listed_devices(found, usable))}


def main() -> None:
    # Native libraries may print while they load; only the answer may reach the reader.
    output = os.dup(1)
    os.dup2(2, 1)
    line = json.dumps(installation()) + "\n"
    os.write(output, line.encode())


if __name__ == "__main__":
    main()
