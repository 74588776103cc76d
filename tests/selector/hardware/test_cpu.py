from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selector.hardware.cpu import (
    CoreCounts,
    CpuIdentity,
    ask_cpuinfo,
    count_cores,
    identify_cpu,
    parse_proc_cpuinfo,
    usable_cores,
)

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


@pytest.mark.parametrize(
    ("affinity", "quota", "physical", "expected"),
    [
        (8, None, 4, 4),
        (2, None, 4, 2),
        (8, 1.5, 4, 2),
        (8, 0.2, 4, 1),
        (8, 6.0, 4, 4),
        (0, None, 0, 1),
    ],
)
def test_usable_cores_are_the_smallest_of_affinity_quota_and_physical_cores(
    affinity: int, quota: float | None, physical: int, expected: int
) -> None:
    assert usable_cores(CoreCounts(physical=physical, logical=8, affinity=affinity), quota) == expected


def test_this_machine_has_cores() -> None:
    counts = count_cores()
    assert counts.logical >= counts.physical >= 1
    assert counts.affinity >= 1


def test_x86_name_and_flags() -> None:
    identity = parse_proc_cpuinfo(X86)
    assert identity == CpuIdentity("AMD EPYC 9J14", ("avx2", "avx512_vnni", "avx512f", "fpu"))


def test_arm_features_count_as_flags() -> None:
    identity = parse_proc_cpuinfo(RASPBERRY_PI)
    assert identity is not None
    assert identity.name == "Raspberry Pi 5 Model B Rev 1.0"
    assert "asimddp" in identity.flags


@pytest.mark.parametrize("text", ["", "nonsense", "model name: x\n"])
def test_cpuinfo_without_instruction_sets_is_no_answer(text: str) -> None:
    assert parse_proc_cpuinfo(text) is None


def test_proc_cpuinfo_is_enough_where_it_answers(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(X86, encoding="utf-8")
    cpuinfo = CountingCpuinfo({})
    cache = tmp_path / "cache.json"
    assert identify_cpu(tmp_path, cache, cpuinfo).name == "AMD EPYC 9J14"
    assert cpuinfo.calls == 0
    assert not cache.exists()


def test_slow_answer_is_asked_for_once_and_cached(tmp_path: Path) -> None:
    cpuinfo = CountingCpuinfo({"brand_raw": "Apple M3", "flags": ["neon", "asimd"]})
    cache = tmp_path / "new" / "hardware.json"
    first = identify_cpu(tmp_path, cache, cpuinfo)
    assert first == identify_cpu(tmp_path, cache, cpuinfo) == CpuIdentity("Apple M3", ("asimd", "neon"))
    assert cpuinfo.calls == 1
    assert [file.name for file in cache.parent.iterdir()] == ["hardware.json"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"cpu": null}', '{"cpu": {"key": "another machine", "name": "x", "flags": []}}']
)
def test_cache_that_does_not_fit_is_replaced(tmp_path: Path, content: str) -> None:
    cache = tmp_path / "hardware.json"
    cache.write_text(content, encoding="utf-8")
    cpuinfo = CountingCpuinfo({"brand_raw": "Apple M3"})
    assert identify_cpu(tmp_path, cache, cpuinfo).name == "Apple M3"
    assert identify_cpu(tmp_path, cache, cpuinfo).name == "Apple M3"
    assert cpuinfo.calls == 1


def test_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    cpuinfo = CountingCpuinfo({})
    assert identify_cpu(tmp_path, blocked / "hardware.json", cpuinfo).flags == ()
    assert cpuinfo.calls == 1


def test_py_cpuinfo_really_answers() -> None:
    assert ask_cpuinfo()["count"] >= 1
