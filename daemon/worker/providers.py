"""Which execution providers this installation can use: ``python -m daemon.worker.providers`` prints a JSON list.

A process of its own, because the daemon never imports onnxruntime.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from registry.model import ExecutionProvider

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


def short_names(names: Iterable[str]) -> list[ExecutionProvider]:
    """The known ones among ONNX Runtime's ``names``, each once, in the order of ``ExecutionProvider``."""
    known = {_SHORT_NAMES[name] for name in names if name in _SHORT_NAMES}
    return [provider for provider in ExecutionProvider if provider in known]


def usable_providers() -> list[ExecutionProvider]:
    """What the installed onnxruntime offers: providers compiled in, and those of devices it found through plugins."""
    import onnxruntime

    names = set(onnxruntime.get_available_providers())
    names |= {device.ep_name for device in onnxruntime.get_ep_devices()}
    return short_names(names)


def main() -> None:
    # Native libraries may print while they load; only the list may reach the reader.
    output = os.dup(1)
    os.dup2(2, 1)
    line = json.dumps(usable_providers()) + "\n"
    os.write(output, line.encode())


if __name__ == "__main__":
    main()
