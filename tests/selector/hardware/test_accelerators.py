from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.model import Device, ExecutionProvider
from selector.hardware import Accelerator
from selector.hardware.accelerators import find_accelerators
from selector.hardware.apple import DISPLAYS_QUERY, GPU_LIMIT_QUERY
from selector.hardware.cores import parse_sysctl
from selector.hardware.nvidia import MIB, NVIDIA_QUERY
from selector.hardware.queries import Query
from tests.selector.hardware.recorded import answering, plant, sample, silent, write

CPU = (ExecutionProvider.CPU,)
GIB = 1024 * MIB


def linux(root: Path, installed: tuple[ExecutionProvider, ...] = CPU, query: Query = silent) -> tuple[Accelerator, ...]:
    return find_accelerators(installed, root=root, query=query, system="linux")


def windows(name: str, installed: tuple[ExecutionProvider, ...] = CPU, smi: str = "") -> tuple[Accelerator, ...]:
    query = answering({("powershell.exe",): sample(f"{name}.json"), ("nvidia-smi",): smi})
    return find_accelerators(installed, root=Path("/nowhere"), query=query, system="win32")


def mac(name: str, installed: tuple[ExecutionProvider, ...] = CPU, limit_mb: int = 0) -> tuple[Accelerator, ...]:
    query = answering(
        {
            DISPLAYS_QUERY: sample(f"{name}.system_profiler.json"),
            GPU_LIMIT_QUERY: f"iogpu.wired_limit_mb: {limit_mb}\n",
        }
    )
    sysctl = parse_sysctl(sample(f"{name}.sysctl-hw.txt") + sample(f"{name}.sysctl-machdep.cpu.txt"))
    return find_accelerators(installed, root=Path("/nowhere"), query=query, system="darwin", sysctl=sysctl)


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_no_accelerator_where_nothing_answers(tmp_path: Path, system: str) -> None:
    assert find_accelerators(CPU, root=tmp_path, query=silent, system=system) == ()


# -- NVIDIA


def test_nvidia_gpu_without_its_provider_names_the_package(tmp_path: Path) -> None:
    first, second = linux(tmp_path, query=answering({NVIDIA_QUERY: sample("nvidia-smi.csv")}))
    assert (first.name, first.device, first.driver) == ("NVIDIA GeForce RTX 4070", Device.GPU, "560.94")
    assert (first.memory_total_bytes, first.memory_available_bytes) == (12282 * MIB, 11004 * MIB)
    assert (second.name, second.memory_available_bytes) == ("NVIDIA RTX A2000, Laptop", 0)
    assert not first.usable
    assert first.reason is not None
    assert "onnxruntime-genai-cuda" in first.reason


def test_nvidia_gpu_is_usable_with_cuda(tmp_path: Path) -> None:
    installed = (ExecutionProvider.CPU, ExecutionProvider.CUDA)
    (gpu,) = linux(tmp_path, installed, answering({NVIDIA_QUERY: "NVIDIA H200, 143771, 143156, 550.54.14\n"}))
    assert gpu.usable
    assert (gpu.execution_providers, gpu.reason) == ((ExecutionProvider.CUDA,), None)


@pytest.mark.parametrize("missing", ["[N/A]", "Not Supported"])
def test_memory_shared_with_the_host_is_not_its_own(tmp_path: Path, missing: str) -> None:
    (gpu,) = linux(tmp_path, query=lambda _: f"NVIDIA GB10, {missing}, {missing}, 580.1\n")
    assert (gpu.name, gpu.is_integrated) == ("NVIDIA GB10", True)
    assert (gpu.memory_total_bytes, gpu.memory_available_bytes) == (None, None)


@pytest.mark.parametrize("output", ["", "\n\n", "No devices were found\n", "NVIDIA-SMI has failed, because\n"])
def test_talk_instead_of_a_table_is_no_gpu(tmp_path: Path, output: str) -> None:
    assert linux(tmp_path, query=lambda _: output) == ()


def test_container_without_access_to_the_gpu_says_how_to_get_it(tmp_path: Path) -> None:
    root, installed = plant(tmp_path, "linux-nvidia-container"), (ExecutionProvider.CPU, ExecutionProvider.CUDA)
    (gpu,) = linux(root, installed)
    assert (gpu.name, gpu.driver, gpu.usable) == ("NVIDIA L4", "550.54.14", False)
    assert gpu.reason is not None
    assert "--gpus all" in gpu.reason
    write(root, {"dev/nvidiactl": ""})
    (gpu,) = linux(root, installed)
    assert (gpu.usable, gpu.memory_total_bytes) == (True, None)


def test_card_that_nvidia_smi_lists_is_not_counted_twice(tmp_path: Path) -> None:
    root = plant(tmp_path, "linux-nvidia-container")
    found = linux(root, query=answering({NVIDIA_QUERY: "NVIDIA L4, 23034, 22563, 550.54.14\n"}))
    assert [gpu.memory_total_bytes for gpu in found] == [23034 * MIB]


# -- Linux: AMD, Intel, and cards without a driver


def test_amd_workstation(tmp_path: Path) -> None:
    card, nvidia, inside, npu = linux(plant(tmp_path, "linux-amd-workstation"), (ExecutionProvider.MIGRAPHX,))
    assert (card.name, card.vendor, card.driver, card.usable) == ("AMD Radeon RX 7900 XTX", "AMD", "amdgpu", True)
    assert (card.memory_total_bytes, card.memory_available_bytes) == (25753026560, 25_000_000_000)
    assert (card.is_integrated, card.shared_memory_bytes) == (False, None)

    assert (nvidia.name, nvidia.usable) == ("NVIDIA GPU 0x2786", False)
    assert nvidia.reason is not None
    assert "nouveau holds it" in nvidia.reason

    assert (inside.name, inside.is_integrated) == ("AMD GPU 0x13c0", True)
    assert (inside.memory_total_bytes, inside.memory_available_bytes) == (None, None)
    assert inside.shared_memory_bytes == 32_000_000_000

    assert (npu.name, npu.device, npu.usable) == ("AMD NPU 0x17f0", Device.NPU, False)
    assert npu.reason is not None
    assert "no kernel driver is loaded" in npu.reason


def test_a_card_without_its_driver_is_not_usable_whatever_is_installed(tmp_path: Path) -> None:
    everything = tuple(ExecutionProvider)
    _, nvidia, _, npu = linux(plant(tmp_path, "linux-amd-workstation"), everything)
    for accelerator in (nvidia, npu):
        assert (accelerator.usable, accelerator.execution_providers) == (False, ())


def test_amd_card_without_a_provider_names_the_package(tmp_path: Path) -> None:
    card, *_ = linux(plant(tmp_path, "linux-amd-workstation"))
    assert card.reason is not None
    assert "onnxruntime-migraphx" in card.reason


def test_intel_laptop_has_a_gpu_and_an_npu_in_the_machines_memory(tmp_path: Path) -> None:
    gpu, npu = linux(plant(tmp_path, "linux-hybrid-laptop"))
    assert (gpu.name, gpu.device, gpu.driver) == ("Intel Meteor Lake-P [Intel Graphics]", Device.GPU, "i915")
    assert (npu.name, npu.device, npu.driver) == ("Intel Meteor Lake NPU", Device.NPU, "intel_vpu")
    for accelerator in (gpu, npu):
        assert accelerator.is_integrated
        assert accelerator.memory_total_bytes is None
        assert accelerator.reason is not None
        assert "onnxruntime-openvino" in accelerator.reason
    usable = linux(tmp_path, (ExecutionProvider.CPU, ExecutionProvider.OPENVINO))
    assert [accelerator.usable for accelerator in usable] == [True, True]


def test_intel_card_tells_the_memory_of_its_tiles(tmp_path: Path) -> None:
    card = "sys/bus/pci/devices/0000:03:00.0"
    files = {
        "class": "0x030000",
        "vendor": "0x8086",
        "device": "0xe20b",
        "tile0/physical_vram_size_bytes": str(12 * GIB),
    }
    write(tmp_path, {f"{card}/{name}": text for name, text in files.items()})
    (tmp_path / "xe").mkdir()
    (tmp_path / card / "driver").symlink_to(tmp_path / "xe")
    (gpu,) = linux(tmp_path)
    assert (gpu.is_integrated, gpu.memory_total_bytes, gpu.memory_available_bytes) == (False, 12 * GIB, None)


def test_virtual_display_is_no_accelerator(tmp_path: Path) -> None:
    device = "sys/bus/pci/devices/0000:00:01.0"
    write(tmp_path, {f"{device}/class": "0x030000", f"{device}/vendor": "0x1234", f"{device}/device": "0x1111"})
    assert linux(tmp_path) == ()


# -- macOS


def test_apple_chip_has_a_gpu_in_the_machines_memory_and_a_neural_engine() -> None:
    gpu, npu = mac("mac-m3-pro")
    assert (gpu.name, gpu.vendor, gpu.device, gpu.is_integrated) == ("Apple M3 Pro", "Apple", Device.GPU, True)
    assert (gpu.memory_total_bytes, gpu.shared_memory_bytes) == (None, 27 * GIB)
    assert gpu.reason is not None
    assert "models run on the CPU" in gpu.reason
    assert (npu.name, npu.device, npu.usable) == ("Apple M3 Pro Neural Engine", Device.NPU, False)
    assert npu.reason is not None


def test_limit_that_the_user_set_for_the_gpu_is_what_counts() -> None:
    gpu, _ = mac("mac-m3-pro", (ExecutionProvider.WEBGPU,), limit_mb=30_000)
    assert (gpu.shared_memory_bytes, gpu.usable) == (30_000 * MIB, True)


def test_intel_mac_has_a_card_with_memory_of_its_own() -> None:
    inside, card = mac("mac-intel")
    assert (inside.name, inside.vendor, inside.is_integrated) == ("Intel UHD Graphics 630", "Intel", True)
    assert (card.vendor, card.is_integrated, card.memory_total_bytes) == ("AMD", False, 8 * GIB)


@pytest.mark.parametrize("output", ["", "no JSON", "[]", "{}", '{"SPDisplaysDataType": [null, 3, {}]}', "[" * 100_000])
def test_mac_whose_profiler_fails_still_has_the_gpu_of_its_chip(output: str) -> None:
    query = answering({DISPLAYS_QUERY: output})
    found = find_accelerators(
        CPU,
        root=Path("/nowhere"),
        query=query,
        system="darwin",
        sysctl={"machdep.cpu.brand_string": "Apple M1", "hw.memsize": str(24 * GIB)},
    )
    assert [(a.name, a.shared_memory_bytes) for a in found] == [
        ("Apple M1", 16 * GIB),
        ("Apple M1 Neural Engine", None),
    ]


# -- Windows


def test_windows_takes_the_large_memory_sizes_of_the_registry() -> None:
    nvidia, inside, card = windows("windows-gaming-pc", (ExecutionProvider.CPU, ExecutionProvider.DIRECTML))
    assert (nvidia.name, nvidia.driver) == ("NVIDIA GeForce RTX 4070", "32.0.15.6094")
    assert nvidia.memory_total_bytes == 12_878_610_432
    assert (inside.name, inside.is_integrated, inside.memory_total_bytes) == ("AMD Radeon(TM) Graphics", True, None)
    assert (card.name, card.is_integrated, card.memory_total_bytes) == ("AMD Radeon RX 7900 XTX", False, 0x5FF000000)
    assert all(accelerator.usable for accelerator in (nvidia, inside, card))


def test_windows_asks_nvidia_smi_for_free_memory() -> None:
    found = windows("windows-gaming-pc", smi="NVIDIA GeForce RTX 4070, 12282, 9000, 560.94\n")
    nvidia = [accelerator for accelerator in found if accelerator.vendor == "NVIDIA"]
    assert [gpu.memory_available_bytes for gpu in nvidia] == [9000 * MIB]
    assert nvidia[0].reason is not None
    assert "onnxruntime-genai-cuda" in nvidia[0].reason
    assert all("onnxruntime-genai-directml" in str(accelerator.reason) for accelerator in found)


def test_snapdragon_has_a_gpu_and_an_npu() -> None:
    gpu, npu = windows("windows-snapdragon", (ExecutionProvider.CPU, ExecutionProvider.QNN))
    assert (gpu.vendor, gpu.device, gpu.is_integrated, gpu.usable) == ("Qualcomm", Device.GPU, True, False)
    assert (npu.vendor, npu.device, npu.driver, npu.usable) == ("Qualcomm", Device.NPU, "30.0.140.0", True)
    _, without = windows("windows-snapdragon")
    assert without.reason is not None
    assert "onnxruntime-qnn" in without.reason


def test_windows_npus_of_intel_and_amd() -> None:
    lake, boost, xdna, card = windows("windows-ai-laptop", (ExecutionProvider.OPENVINO, ExecutionProvider.VITIS_AI))
    assert (lake.is_integrated, lake.usable) == (True, True)
    assert (boost.vendor, boost.device, boost.execution_providers) == (
        "Intel",
        Device.NPU,
        (ExecutionProvider.OPENVINO,),
    )
    assert (xdna.vendor, xdna.device, xdna.usable) == ("AMD", Device.NPU, False)
    assert xdna.reason is not None
    assert "problem code 28" in xdna.reason
    assert (card.is_integrated, card.memory_total_bytes) == (False, 17_112_760_320)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "Access denied",
        "[]",
        "null",
        "3",
        '{"devices": null, "drivers": {}}',
        '{"devices": [null, {}, {"Name": 3}], "drivers": [4]}',
        "[" * 100_000,
    ],
)
def test_windows_answer_that_is_none_shows_no_accelerator(output: str) -> None:
    query = answering({("powershell.exe",): output})
    assert find_accelerators(CPU, root=Path("/nowhere"), query=query, system="win32") == ()


@pytest.mark.parametrize(("size", "expected"), [(None, None), (0, None), (True, None), ("4", None), ([1, 2], None)])
def test_windows_memory_size_that_is_none(size: object, expected: int | None) -> None:
    answer = {
        "devices": [{"Name": "NVIDIA X", "PNPClass": "Display", "PNPDeviceID": "PCI\\VEN_10DE&DEV_1"}],
        "drivers": [{"MatchingDeviceId": "PCI\\VEN_10DE&DEV_1", "MemorySize": size}],
    }
    query = answering({("powershell.exe",): json.dumps(answer)})
    (gpu,) = find_accelerators(CPU, root=Path("/nowhere"), query=query, system="win32")
    assert gpu.memory_total_bytes == expected


@pytest.mark.parametrize("name", ["linux-hybrid-laptop", "linux-amd-workstation", "linux-nvidia-container"])
def test_what_cannot_be_used_always_says_why(tmp_path: Path, name: str) -> None:
    for accelerator in linux(plant(tmp_path, name)):
        assert accelerator.usable == (accelerator.reason is None)
        assert accelerator.usable == bool(accelerator.execution_providers)
