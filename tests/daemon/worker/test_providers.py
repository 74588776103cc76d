from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from daemon.worker.providers import drivable, listed_devices, short_names
from registry.model import ExecutionProvider


class DeviceType(Enum):
    """As ONNX Runtime names them."""

    CPU = 0
    GPU = 1
    FPGA = 7


@dataclass
class HardwareDevice:
    type: DeviceType
    vendor: str


@dataclass
class EpDevice:
    ep_name: str
    device: HardwareDevice


class CpuPackage:
    """onnxruntime_genai as installed without a suffix."""

    @staticmethod
    def is_cuda_available() -> bool:
        return False

    @staticmethod
    def is_dml_available() -> bool:
        return False


class CudaPackage(CpuPackage):
    @staticmethod
    def is_cuda_available() -> bool:
        return True


def test_known_providers_get_their_short_names_and_the_rest_is_dropped() -> None:
    names = ["AzureExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider", "SomethingNew"]
    assert short_names(names) == [ExecutionProvider.CPU, ExecutionProvider.DIRECTML]


def test_provider_that_the_genai_package_has_no_code_for_is_not_usable() -> None:
    offered = [ExecutionProvider.CPU, ExecutionProvider.CUDA, ExecutionProvider.DIRECTML, ExecutionProvider.QNN]
    assert drivable(offered, CpuPackage) == [ExecutionProvider.CPU, ExecutionProvider.QNN]
    assert drivable(offered, CudaPackage) == [ExecutionProvider.CPU, ExecutionProvider.CUDA, ExecutionProvider.QNN]
    assert drivable(offered, object()) == [ExecutionProvider.CPU, ExecutionProvider.QNN]


def test_devices_of_usable_providers_are_listed_once() -> None:
    card = HardwareDevice(DeviceType.GPU, "NVIDIA")
    found = [
        EpDevice("CPUExecutionProvider", HardwareDevice(DeviceType.CPU, "Intel")),
        EpDevice("CUDAExecutionProvider", card),
        EpDevice("CUDAExecutionProvider", card),
        EpDevice("DmlExecutionProvider", card),
        EpDevice("UnheardOf", card),
        EpDevice("CPUExecutionProvider", HardwareDevice(DeviceType.FPGA, "X")),
    ]
    assert list(listed_devices(found, [ExecutionProvider.CPU, ExecutionProvider.CUDA])) == [
        {"execution_provider": "cpu", "device": "cpu", "vendor": "Intel"},
        {"execution_provider": "cuda", "device": "gpu", "vendor": "NVIDIA"},
    ]


def test_the_command_prints_json_with_the_cpu_and_nothing_else() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "daemon.worker.providers"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(result.stdout)
    assert "cpu" in answer["execution_providers"]
    assert set(answer["execution_providers"]) <= {provider.value for provider in ExecutionProvider}
    assert "cpu" in {device["execution_provider"] for device in answer["devices"]}
