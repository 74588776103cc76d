from __future__ import annotations

from typing import Any

import pytest

from daemon.cli.hardware_rows import hardware_rows
from registry.model import Device, ExecutionProvider
from selector.explain import hardware_as_json
from selector.hardware import Accelerator, Cpu, Disk, DiskClass, Hardware, Memory, Power, Probes, ProviderDevice

GB = 10**9


def machine(**parts: Any) -> Hardware:
    defaults: dict[str, Any] = {"cpu": Cpu("A CPU", 4, 8, 3), "memory": Memory(16 * GB, 8 * GB)}
    return Hardware(**(defaults | parts))


def line(title: str, **parts: Any) -> str:
    """The one line with ``title`` that a machine of these parts is shown with."""
    (found,) = [text for name, text in hardware_rows(hardware_as_json(machine(**parts))) if name == title]
    return found


def test_a_machine_that_tells_little() -> None:
    assert hardware_rows(hardware_as_json(machine())) == [
        ("CPU", "A CPU (3 usable of 4 cores, 8 threads)"),
        ("kernels", "none that speed up int4 or int8"),
        ("memory", "8.0 GB available of 16.0 GB"),
        ("swap", "unknown"),
        ("speed", "not measured: predictions take cautious rates for granted"),
        ("providers", "cpu"),
        ("power", "unknown"),
    ]


def test_a_machine_that_tells_everything() -> None:
    cpu = Cpu("M", 12, 12, 12, ("x",), ("neon", "dotprod"), performance_cores=6, efficiency_cores=6)
    assert line("CPU", cpu=cpu) == "M (12 usable of 12 cores (6 performance, 6 efficiency), 12 threads)"
    assert line("kernels", cpu=cpu) == "neon dotprod"
    memory = Memory(16 * GB, 3 * GB, 4 * GB, swap_total_bytes=2 * GB, swap_free_bytes=GB)
    assert line("memory", memory=memory) == "3.0 GB available of 16.0 GB, limited to 4.0 GB"
    assert line("swap", memory=memory) == "1.0 GB free of 2.0 GB"
    assert line("swap", memory=Memory(1, 1, swap_total_bytes=0, swap_free_bytes=0)) == "none"
    assert line("speed", probes=Probes(22e9, 340e9)) == "22 GB/s from memory, 340 GFLOP/s in float32 (measured)"
    assert line("speed", probes=Probes(22e9)) == "22 GB/s from memory (measured)"
    disk = Disk("/models", DiskClass.NVME, "ext4", "/dev/nvme0n1p2")
    assert line("disk", disks=(disk,)) == "nvme: /models (ext4, /dev/nvme0n1p2)"
    assert line("disk", disks=(Disk("/x", DiskClass.UNKNOWN),)) == "unknown: /x"


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (Power(on_battery=True, battery_percent=63.4), "battery, charged to 63%"),
        (Power(on_battery=False, battery_percent=80), "mains, charged to 80%"),
        (Power(on_battery=False), "mains"),
    ],
)
def test_power(power: Power, expected: str) -> None:
    assert line("power", power=power) == expected


def test_providers_say_what_they_compute_on() -> None:
    providers = (ExecutionProvider.CPU, ExecutionProvider.WEBGPU)
    devices = (ProviderDevice(ExecutionProvider.CPU, Device.CPU, "AMD"),)
    assert line("providers", execution_providers=providers, provider_devices=devices) == "cpu (cpu AMD), webgpu"


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        (
            Accelerator(
                "RTX",
                Device.GPU,
                12 * GB,
                9 * GB,
                usable=True,
                execution_providers=(ExecutionProvider.CUDA,),
                driver="560.94",
            ),
            "RTX (GPU, 9.0 GB free of 12.0 GB, driver 560.94): used by cuda",
        ),
        (Accelerator("Arc", Device.GPU, 12 * GB, reason="Install it."), "Arc (GPU, 12.0 GB): Install it."),
        (
            Accelerator("M3", Device.GPU, reason="No.", is_integrated=True, shared_memory_bytes=24 * GB),
            "M3 (GPU, up to 24.0 GB of the machine's memory): No.",
        ),
        (
            Accelerator("AI Boost", Device.NPU, reason="No.", is_integrated=True),
            "AI Boost (NPU, in the machine's memory): No.",
        ),
    ],
)
def test_accelerators_say_what_they_are_and_why_they_are_not_used(accelerator: Accelerator, expected: str) -> None:
    assert line("accelerator", accelerators=(accelerator,)) == expected
