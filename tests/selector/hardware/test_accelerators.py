from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from registry.model import Device, ExecutionProvider
from selector.hardware.accelerators import MIB, NVIDIA_QUERY, find_accelerators, run_query

CPU_ONLY = (ExecutionProvider.CPU,)


def silent(command: Sequence[str]) -> str | None:
    return None


def card(root: Path, name: str, **files: str) -> None:
    device = root / "sys/class/drm" / name / "device"
    device.mkdir(parents=True)
    for file, text in files.items():
        (device / file).write_text(f"{text}\n", encoding="utf-8")


def test_no_accelerator_where_nothing_answers(tmp_path: Path) -> None:
    assert find_accelerators(CPU_ONLY, root=tmp_path, query=silent) == ()


def test_nvidia_gpu_without_its_provider_names_the_package(tmp_path: Path) -> None:
    def query(command: Sequence[str]) -> str:
        assert command == NVIDIA_QUERY
        return "NVIDIA GeForce RTX 4070, 12282, 11004\n"

    (gpu,) = find_accelerators(CPU_ONLY, root=tmp_path, query=query)
    assert (gpu.name, gpu.device) == ("NVIDIA GeForce RTX 4070", Device.GPU)
    assert (gpu.memory_total_bytes, gpu.memory_available_bytes) == (12282 * MIB, 11004 * MIB)
    assert not gpu.usable
    assert gpu.reason is not None
    assert "onnxruntime-genai-cuda" in gpu.reason


def test_nvidia_gpus_are_usable_with_cuda(tmp_path: Path) -> None:
    output = "NVIDIA H200, 143771, 143156\nNVIDIA H200, 143771, 0\n"
    first, second = find_accelerators(
        (ExecutionProvider.CPU, ExecutionProvider.CUDA), root=tmp_path, query=lambda _: output
    )
    assert first.usable
    assert first.execution_providers == (ExecutionProvider.CUDA,)
    assert first.reason is None
    assert second.memory_available_bytes == 0


def test_memory_shared_with_the_host_is_not_known(tmp_path: Path) -> None:
    (gpu,) = find_accelerators(CPU_ONLY, root=tmp_path, query=lambda _: "NVIDIA GB10, [N/A], [N/A]\n")
    assert (gpu.name, gpu.memory_total_bytes, gpu.memory_available_bytes) == ("NVIDIA GB10", None, None)


@pytest.mark.parametrize("output", ["", "\n\n", "No devices were found\n", "NVIDIA-SMI has failed, because\n"])
def test_talk_instead_of_a_table_is_no_gpu(tmp_path: Path, output: str) -> None:
    assert find_accelerators(CPU_ONLY, root=tmp_path, query=lambda _: output) == ()


def test_amd_card_reports_its_video_memory(tmp_path: Path) -> None:
    card(
        tmp_path,
        "card1",
        vendor="0x1002",
        device="0x744c",
        mem_info_vram_total=str(24 * 1024 * MIB),
        mem_info_vram_used=str(1024 * MIB),
    )
    (tmp_path / "sys/class/drm/card1-DP-1").mkdir()
    (tmp_path / "sys/class/drm/renderD128").mkdir()
    (gpu,) = find_accelerators((ExecutionProvider.WEBGPU,), root=tmp_path, query=silent)
    assert gpu.name == "AMD GPU 0x744c"
    assert gpu.memory_available_bytes == 23 * 1024 * MIB
    assert gpu.usable


def test_intel_gpu_has_no_memory_of_its_own_and_names_the_package(tmp_path: Path) -> None:
    card(tmp_path, "card0", vendor="0x8086", device="0x46a6")
    (gpu,) = find_accelerators(CPU_ONLY, root=tmp_path, query=silent)
    assert gpu.memory_total_bytes is None
    assert gpu.reason is not None
    assert "onnxruntime-openvino" in gpu.reason


def test_nvidia_card_is_not_counted_twice(tmp_path: Path) -> None:
    card(tmp_path, "card0", vendor="0x10de", device="0x2786")
    card(tmp_path, "card1", vendor="0x8086", device="0x46a6")
    found = find_accelerators(CPU_ONLY, root=tmp_path, query=lambda _: "NVIDIA GeForce RTX 4070, 12282, 11004\n")
    assert [gpu.name for gpu in found] == ["NVIDIA GeForce RTX 4070", "Intel GPU 0x46a6"]


def test_nvidia_card_without_its_driver_is_still_seen(tmp_path: Path) -> None:
    card(tmp_path, "card0", vendor="0x10de", device="0x2786")
    (gpu,) = find_accelerators(CPU_ONLY, root=tmp_path, query=silent)
    assert gpu.name == "NVIDIA GPU 0x2786"


def test_virtual_display_is_no_accelerator(tmp_path: Path) -> None:
    card(tmp_path, "card0", vendor="0x1234", device="0x1111")
    assert find_accelerators(CPU_ONLY, root=tmp_path, query=silent) == ()


def test_query_runs_a_program_and_survives_one_that_is_missing_or_fails() -> None:
    assert run_query((sys.executable, "-c", "print('name, 1, 2')")) == "name, 1, 2\n"
    assert run_query((sys.executable, "-c", "raise SystemExit(9)")) is None
    assert run_query(("no-such-program-slmreg",)) is None
