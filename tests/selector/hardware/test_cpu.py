from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selector.hardware.cache import HardwareCache
from selector.hardware.cores import parse_sysctl
from selector.hardware.cpu import (
    CpuIdentity,
    ask_cpuinfo,
    cached_identity,
    kernels,
    linux_identity,
    mac_identity,
    parse_proc_cpuinfo,
    with_windows_features,
)
from tests.selector.hardware.recorded import plant, sample

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
model\t\t: 2
model name\t: AMD EPYC 9J14
flags\t\t: fpu avx2 avx512f avx512_vnni

processor\t: 1
model name\t: AMD EPYC 9J14
flags\t\t: fpu avx2 avx512f avx512_vnni
"""
RASPBERRY_PI = """processor\t: 0
Features\t: fp asimd evtstrm crc32 asimddp
CPU implementer\t: 0x41
CPU part\t: {part}

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


class CountingCpuinfo:
    """py-cpuinfo's part: a dictionary, and how often it was asked for."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return self.answer


def test_x86_name_and_flags() -> None:
    identity = parse_proc_cpuinfo(X86)
    assert identity == CpuIdentity("AMD EPYC 9J14", ("avx2", "avx512_vnni", "avx512f", "fpu"))


@pytest.mark.parametrize(("part", "name"), [("0xd0b", "Arm Cortex-A76"), ("0xfff", "Raspberry Pi 5 Model B Rev 1.0")])
def test_arm_core_is_named_by_its_number_or_by_its_board(part: str, name: str) -> None:
    identity = parse_proc_cpuinfo(RASPBERRY_PI.format(part=part))
    assert identity is not None
    assert identity.name == name
    assert "asimddp" in identity.flags


def test_arm_board_without_a_name_in_cpuinfo_has_one_in_its_device_tree(tmp_path: Path) -> None:
    identity = linux_identity(plant(tmp_path, "linux-arm-board"))
    assert identity is not None
    assert identity.name == "Radxa ROCK 5B"


def test_cpu_that_nothing_names_is_called_after_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("Features : asimd\n", encoding="utf-8")
    identity = linux_identity(tmp_path)
    assert identity is not None
    assert identity.name != ""


@pytest.mark.parametrize("text", ["", "nonsense", "model name: x\n"])
def test_cpuinfo_without_instruction_sets_is_no_answer(text: str) -> None:
    assert parse_proc_cpuinfo(text) is None


def test_macs_name_their_cpu_and_its_instruction_sets() -> None:
    apple = mac_identity(parse_sysctl(sample("mac-m3-pro.sysctl-hw.txt") + sample("mac-m3-pro.sysctl-machdep.cpu.txt")))
    assert apple == CpuIdentity("Apple M3 Pro", ("asimd", "asimddp", "bf16", "i8mm"))
    intel = mac_identity(parse_sysctl(sample("mac-intel.sysctl-hw.txt") + sample("mac-intel.sysctl-machdep.cpu.txt")))
    assert intel is not None
    assert intel.name.startswith("Intel(R) Core(TM) i9")
    assert kernels(intel.flags) == ("avx2",)
    assert mac_identity({}) is None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("fpu", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"), None),
        (("avx512vnni", "avxvnni"), ("avx_vnni", "avx512_vnni")),
        (("asimd", "asimddp", "i8mm", "sve", "neon"), ("neon", "dotprod", "i8mm", "sve")),
        (("sse2",), ()),
    ],
)
def test_instruction_sets_with_kernels_have_one_name_on_every_system(
    flags: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    assert kernels(flags) == (flags[1:] if expected is None else expected)


def test_windows_tells_what_py_cpuinfo_does_not_know() -> None:
    identity = with_windows_features(CpuIdentity("Snapdragon", ("x",)), {19, 43, 66}.__contains__)
    assert identity.flags == ("asimd", "asimddp", "i8mm", "x")


def test_slow_answer_is_asked_for_once_and_kept(tmp_path: Path) -> None:
    cpuinfo = CountingCpuinfo({"brand_raw": "AMD Ryzen 7", "flags": ["sse2", "avx2"]})
    cache = HardwareCache(tmp_path / "hardware.json")
    first = cached_identity(cache, cpuinfo)
    assert first == cached_identity(cache, cpuinfo) == CpuIdentity("AMD Ryzen 7", ("avx2", "sse2"))
    assert cpuinfo.calls == 1


@pytest.mark.parametrize("kept", [None, [], {"name": "x"}, {"name": 5, "flags": []}, {"name": "x", "flags": "y"}])
def test_kept_answer_that_is_none_is_asked_for_again(tmp_path: Path, kept: object) -> None:
    cache = HardwareCache(tmp_path / "hardware.json")
    cache.keep("cpu", kept)
    cpuinfo = CountingCpuinfo({})
    assert cached_identity(cache, cpuinfo).flags == ()
    assert cpuinfo.calls == 1


def test_py_cpuinfo_really_answers() -> None:
    assert ask_cpuinfo()["count"] >= 1
