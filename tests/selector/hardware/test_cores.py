from __future__ import annotations

import struct
from pathlib import Path

import pytest

from selector.hardware.cores import (
    CoreCounts,
    affinity,
    core_groups,
    linux_core_groups,
    linux_cores,
    mac_cores,
    parse_sysctl,
    portable_cores,
    usable_cores,
    windows_cores,
)
from tests.selector.hardware.recorded import plant, sample, write


@pytest.mark.parametrize(
    ("allowed_cpus", "quota", "physical", "expected"),
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
    allowed_cpus: int, quota: float | None, physical: int, expected: int
) -> None:
    assert usable_cores(CoreCounts(physical=physical, logical=8, affinity=allowed_cpus), quota) == expected


def test_the_logical_cpus_of_each_core_that_may_be_used_are_told_together(tmp_path: Path) -> None:
    root = plant(tmp_path, "linux-hybrid-laptop")
    counts = linux_cores(root, range(4))
    groups = linux_core_groups(root, range(4))
    assert counts is not None
    assert len(groups) == counts.allowed
    assert sorted(cpu for group in groups for cpu in group) == [0, 1, 2, 3]
    assert linux_core_groups(root, [1]) == ((1,),)
    assert linux_core_groups(tmp_path / "nothing", [0]) == ()


def test_cores_are_not_divided_where_a_quota_leaves_less_than_there_are(tmp_path: Path) -> None:
    root = plant(tmp_path, "linux-hybrid-laptop")
    groups = core_groups(99, root)
    assert groups == ()


def test_two_threads_of_one_core_are_one_usable_core(tmp_path: Path) -> None:
    root = plant(tmp_path, "linux-hybrid-laptop")
    counts = linux_cores(root, {0, 1})
    assert counts is not None
    assert (counts.affinity, counts.allowed, usable_cores(counts, None)) == (2, 1, 1)
    spread = linux_cores(root, {0, 2, 7})
    assert spread is not None
    assert usable_cores(spread, None) == 3


def test_intel_hybrid_lists_its_kinds_of_cores(tmp_path: Path) -> None:
    counts = linux_cores(plant(tmp_path, "linux-hybrid-laptop"), range(8))
    assert counts == CoreCounts(physical=6, logical=8, affinity=8, allowed=6, performance=2, efficiency=4)


def test_arm_states_the_capacity_of_its_cores(tmp_path: Path) -> None:
    counts = linux_cores(plant(tmp_path, "linux-arm-board"), range(4))
    assert counts == CoreCounts(physical=4, logical=4, affinity=4, allowed=4, performance=2, efficiency=2)


def test_cores_of_one_kind_are_not_called_anything(tmp_path: Path) -> None:
    files = {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n}" for n in range(2)}
    files |= {f"sys/devices/system/cpu/cpu{n}/cpu_capacity": "1024" for n in range(2)}
    counts = linux_cores(write(tmp_path, files), {0, 1, 64})
    assert counts == CoreCounts(physical=2, logical=2, affinity=3, allowed=3)


def test_machine_without_a_topology_is_left_to_another_reader(tmp_path: Path) -> None:
    assert linux_cores(tmp_path, {0}) is None


def test_mac_counts_performance_levels() -> None:
    counts = mac_cores(parse_sysctl(sample("mac-m3-pro.sysctl-hw.txt")))
    assert counts == CoreCounts(physical=12, logical=12, affinity=12, performance=6, efficiency=6)
    assert mac_cores(parse_sysctl(sample("mac-intel.sysctl-hw.txt"))) == CoreCounts(8, 16, 16)
    assert mac_cores({}) is None


def core_record(efficiency: int, mask: int, group: int = 0) -> bytes:
    """As GetLogicalProcessorInformationEx writes a core: relationship, size, then the core with one group mask."""
    return struct.pack("<IIBB20xHQH6x", 0, 48, 1 if mask & (mask - 1) else 0, efficiency, 1, mask, group)


def test_windows_counts_cores_by_their_efficiency_class() -> None:
    records = b"".join((core_record(1, 0b11), core_record(1, 0b1100), *(core_record(0, 1 << n) for n in range(4, 8))))
    assert windows_cores(records, None) == CoreCounts(6, 8, 8, None, performance=2, efficiency=4)
    assert windows_cores(records, {0, 1, 4}) == CoreCounts(6, 8, 3, 2, performance=2, efficiency=4)


def test_windows_machine_with_more_than_64_cpus_has_groups() -> None:
    records = core_record(0, 1) + struct.pack("<II", 3, 16) + b"12345678" + core_record(0, 1, group=1)
    assert windows_cores(records, {64}) == CoreCounts(2, 2, 1, 1)


@pytest.mark.parametrize(
    "records",
    [
        b"",
        b"123",
        struct.pack("<II", 0, 0),
        struct.pack("<II", 0, 4096),
        struct.pack("<IIBB20xH", 0, 32, 0, 0, 9),
        b"\xff" * 64,
    ],
)
def test_windows_records_that_are_damaged_are_no_answer(records: bytes) -> None:
    assert windows_cores(records, None) is None


def test_this_machine_has_cores() -> None:
    counts = portable_cores()
    assert counts.logical >= counts.physical >= 1
    assert counts.affinity >= 1
    allowed = affinity()
    assert allowed is None or len(allowed) >= 1
