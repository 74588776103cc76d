"""Trees as recorded on machines with cgroup version 2, version 1, and both."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selector.hardware.cgroup import V1_UNLIMITED_BYTES, CgroupLimits, cgroup_limits
from selector.hardware.memory import bounded_memory

MIB = 1024 * 1024

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
V1_MEMBERSHIP = "9:name=systemd:/\n4:memory:/user/job\n1:cpu,cpuacct:/user/job\n0::/\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def v2(root: Path, groups: dict[str, dict[str, str]], member: str = "/user.slice/app.scope") -> Path:
    """A version 2 tree; ``groups`` are files by group path below the mount."""
    files = {"proc/self/cgroup": f"0::{member}\n", "proc/self/mountinfo": V2_MOUNT}
    for group, content in groups.items():
        files |= {f"sys/fs/cgroup{group}/{name}": text for name, text in content.items()}
    return write(root, files)


def test_no_files_mean_no_limits(tmp_path: Path) -> None:
    assert cgroup_limits(tmp_path) == CgroupLimits()


def test_v2_leaf_limit_counts_inactive_file_pages_as_free(tmp_path: Path) -> None:
    group = {
        "memory.max": f"{1000 * MIB}\n",
        "memory.current": f"{600 * MIB}\n",
        "memory.stat": f"anon {100 * MIB}\nfile 5\ninactive_file {250 * MIB}\nactive_file 7\n",
        "cpu.max": "150000 100000\n",
    }
    limits = cgroup_limits(v2(tmp_path, {"/user.slice/app.scope": group}))
    assert limits == CgroupLimits(1000 * MIB, 650 * MIB, 1.5)


def test_v2_max_is_no_limit(tmp_path: Path) -> None:
    group = {"memory.max": "max\n", "memory.current": "123\n", "cpu.max": "max 100000\n"}
    assert cgroup_limits(v2(tmp_path, {"/user.slice/app.scope": group})) == CgroupLimits()


def test_v2_memory_high_counts_like_the_limit(tmp_path: Path) -> None:
    """Beyond it the kernel slows the whole group down to reclaim: a model there answers nothing."""
    group = {"memory.max": f"{900 * MIB}\n", "memory.high": f"{600 * MIB}\n", "memory.current": f"{200 * MIB}\n"}
    limits = cgroup_limits(v2(tmp_path, {"/user.slice/app.scope": group}))
    assert limits == CgroupLimits(600 * MIB, 400 * MIB, None)


def test_v2_every_ancestor_counts(tmp_path: Path) -> None:
    tree = v2(
        tmp_path,
        {
            "/user.slice/app.scope": {"memory.max": "max\n", "memory.current": "1\n", "cpu.max": "400000 100000\n"},
            "/user.slice": {
                "memory.max": f"{800 * MIB}\n",
                "memory.current": f"{700 * MIB}\n",
                "cpu.max": "200000 100000\n",
            },
        },
    )
    assert cgroup_limits(tree) == CgroupLimits(800 * MIB, 100 * MIB, 2.0)


def test_v2_tightest_headroom_may_be_another_group_than_the_tightest_limit(tmp_path: Path) -> None:
    tree = v2(
        tmp_path,
        {
            "/user.slice/app.scope": {"memory.max": f"{500 * MIB}\n", "memory.current": f"{100 * MIB}\n"},
            "/user.slice": {"memory.max": f"{900 * MIB}\n", "memory.current": f"{850 * MIB}\n"},
        },
    )
    limits = cgroup_limits(tree)
    assert (limits.memory_limit_bytes, limits.memory_available_bytes) == (500 * MIB, 50 * MIB)


def test_v2_in_a_container_with_its_own_namespace(tmp_path: Path) -> None:
    """The group reads as "/", and its files lie right at the mount point."""
    tree = v2(tmp_path, {"": {"memory.max": f"{256 * MIB}\n", "memory.current": f"{56 * MIB}\n"}}, member="/")
    assert cgroup_limits(tree).memory_available_bytes == 200 * MIB


def test_a_process_that_comes_into_another_group_has_its_limits(tmp_path: Path) -> None:
    groups = {"/before": {"memory.max": f"{100 * MIB}"}, "/after": {"memory.max": f"{300 * MIB}"}}
    v2(tmp_path, groups, member="/before")
    assert cgroup_limits(tmp_path).memory_limit_bytes == 100 * MIB
    write(tmp_path, {"proc/self/cgroup": "0::/after\n"})
    assert cgroup_limits(tmp_path).memory_limit_bytes == 300 * MIB


@pytest.mark.parametrize("member", ["/../../other", "/docker/abc/../x"])
def test_group_outside_the_mount_falls_back_to_the_mount_point(tmp_path: Path, member: str) -> None:
    tree = v2(tmp_path, {"": {"memory.max": f"{256 * MIB}\n", "memory.current": "0\n"}}, member=member)
    assert cgroup_limits(tree).memory_limit_bytes == 256 * MIB


def test_v1_limit_and_quota_with_inactive_pages_of_the_whole_subtree(tmp_path: Path) -> None:
    tree = write(
        tmp_path,
        {
            "proc/self/cgroup": V1_MEMBERSHIP,
            "proc/self/mountinfo": V1_MOUNTS,
            "sys/fs/cgroup/memory/user/job/memory.limit_in_bytes": f"{400 * MIB}\n",
            "sys/fs/cgroup/memory/user/job/memory.usage_in_bytes": f"{300 * MIB}\n",
            "sys/fs/cgroup/memory/user/job/memory.stat": f"inactive_file 1\ntotal_inactive_file {50 * MIB}\n",
            "sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/user/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/user/job/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/user/job/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroup_limits(tree) == CgroupLimits(400 * MIB, 150 * MIB, 2.5)


def test_v1_limit_of_an_ancestor_that_is_not_shown_stands_in_the_statistics(tmp_path: Path) -> None:
    tree = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n",
            "proc/self/mountinfo": V1_MOUNTS,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{V1_UNLIMITED_BYTES}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{100 * MIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"cache 5\nhierarchical_memory_limit {300 * MIB}\n",
        },
    )
    assert cgroup_limits(tree) == CgroupLimits(300 * MIB, 200 * MIB, None)


def test_v1_largest_number_is_no_limit(tmp_path: Path) -> None:
    tree = write(
        tmp_path,
        {
            "proc/self/cgroup": V1_MEMBERSHIP,
            "proc/self/mountinfo": V1_MOUNTS,
            "sys/fs/cgroup/memory/user/job/memory.limit_in_bytes": f"{V1_UNLIMITED_BYTES}\n",
            "sys/fs/cgroup/memory/user/job/memory.usage_in_bytes": "5\n",
        },
    )
    assert cgroup_limits(tree) == CgroupLimits()


def test_v1_in_a_container_that_shares_the_hosts_namespace(tmp_path: Path) -> None:
    """The path of the group and the root of the mount are both those of the host."""
    tree = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n",
            "proc/self/mountinfo": (
                "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime master:9 - cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{128 * MIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "0\n",
        },
    )
    assert cgroup_limits(tree).memory_limit_bytes == 128 * MIB


@pytest.mark.parametrize("garbage", ["", "not a number", "-5", "\x00", "12 ab", "²"])
def test_garbage_in_the_files_is_no_limit(tmp_path: Path, garbage: str) -> None:
    group = {"memory.max": garbage, "memory.current": garbage, "memory.stat": garbage, "cpu.max": garbage}
    assert cgroup_limits(v2(tmp_path, {"/user.slice/app.scope": group})) == CgroupLimits()


@pytest.mark.parametrize("garbage", ["", "x", "1:2", "::::\n", "a - cgroup2\n", " - \n"])
def test_garbage_in_proc_is_no_limit(tmp_path: Path, garbage: str) -> None:
    assert cgroup_limits(write(tmp_path, {"proc/self/cgroup": garbage, "proc/self/mountinfo": garbage})) == (
        CgroupLimits()
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    total=st.integers(0, 2**40),
    free=st.integers(0, 2**41),
    limit=st.integers(0, 2**63),
    usage=st.integers(0, 2**41),
    inactive=st.integers(0, 2**41),
)
def test_control_groups_never_exceed_the_host(
    tmp_path: Path, total: int, free: int, limit: int, usage: int, inactive: int
) -> None:
    group = {"memory.max": f"{limit}\n", "memory.current": f"{usage}\n", "memory.stat": f"inactive_file {inactive}\n"}
    memory = bounded_memory(total, free, cgroup_limits(v2(tmp_path, {"/user.slice/app.scope": group})))
    assert 0 <= memory.available_bytes <= min(total, free)
    assert memory.limit_bytes is None or memory.available_bytes <= memory.limit_bytes < total
