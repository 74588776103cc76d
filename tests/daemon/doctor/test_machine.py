from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.doctor.finding import Level
from daemon.doctor.machine import hardware_findings, provider_findings
from registry.model import Device, ExecutionProvider
from selector.hardware import Accelerator, Cpu, Hardware, Memory, Power
from tests.fakes import a_model

GB = 10**9
CPU = Cpu("A CPU", physical_cores=8, logical_cores=16, usable_cores=8, flags=("sse2", "avx2"))
WELL = Hardware(cpu=CPU, memory=Memory(16 * GB, 8 * GB, swap_total_bytes=4 * GB, swap_free_bytes=4 * GB))
GPU = Accelerator(
    "A GPU",
    Device.GPU,
    reason="No installed execution provider drives it. Install onnxruntime-genai-cuda in place of onnxruntime-genai.",
)


def notes(hardware: Hardware, slow_mode: str | None = None, machine: str = "x86_64") -> dict[str, str]:
    found = list(hardware_findings(hardware, slow_mode=slow_mode, machine=machine))
    assert found[0].level is Level.OK
    assert {finding.level for finding in found[1:]} <= {Level.OK, Level.NOTE}
    return {each.subject: f"{each.message} > {each.advice}" for each in found if each.level is Level.NOTE}


def test_a_machine_without_anything_in_the_way_has_no_notes() -> None:
    used = replace(GPU, usable=True, execution_providers=(ExecutionProvider.CUDA,))
    assert notes(replace(WELL, accelerators=(used,))) == {}


@pytest.mark.parametrize(
    ("hardware", "subject", "says"),
    [
        (replace(WELL, cpu=replace(CPU, flags=("sse2", "avx"))), "processor", "AVX2"),
        (replace(WELL, cpu=replace(CPU, usable_cores=2)), "cores", "only 2 of 8"),
        (replace(WELL, memory=Memory(16 * GB, 4 * GB, limit_bytes=6 * GB)), "memory limit", "6.0 GB"),
        (replace(WELL, memory=Memory(16 * GB, GB // 2)), "memory", "slmreg unload"),
        (replace(WELL, memory=Memory(16 * GB, 8 * GB, None, 4 * GB, GB)), "swap", "3.0 GB"),
        (replace(WELL, power=Power(on_battery=True)), "power", "battery"),
        (replace(WELL, accelerators=(GPU,)), "accelerator", "> Install onnxruntime-genai-cuda in place of"),
        (replace(WELL, accelerators=(replace(GPU, reason=None),)), "accelerator", "is not used"),
    ],
)
def test_what_slows_models_down_is_noted_with_what_to_do(hardware: Hardware, subject: str, says: str) -> None:
    found = notes(hardware)
    assert list(found) == [subject]
    assert says in found[subject]


def test_a_processor_that_is_told_to_save_energy_is_noted() -> None:
    assert "governor powersave" in notes(WELL, slow_mode="governor powersave")["power"]


def test_only_x86_has_avx2_and_unknown_flags_say_nothing() -> None:
    assert notes(replace(WELL, cpu=replace(CPU, flags=("asimd",))), machine="aarch64") == {}
    assert notes(replace(WELL, cpu=replace(CPU, flags=()))) == {}


def test_models_for_a_provider_that_is_not_installed_are_named() -> None:
    models = [a_model("a"), a_model("b", execution_provider=ExecutionProvider.CUDA)]
    (finding,) = provider_findings(models, WELL)
    assert (finding.items, "cuda" in finding.message) == (("b:1",), True)
    able = replace(WELL, execution_providers=(ExecutionProvider.CPU, ExecutionProvider.CUDA))
    assert list(provider_findings(models, able)) == []
