from __future__ import annotations

import sys

import pytest

from registry.files.system_folders import pseudo_mounts, system_folders

MOUNTINFO = """\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=x
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
25 24 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup rw
26 22 0:24 / /srv/jail/a\\040proc rw - proc proc rw
27 22 0:25 / /dev/shm rw - tmpfs shm rw
28 22 8:1 / /home rw - ext4 /dev/sda1 rw
29 22 0:26 / /media/share rw - nfs4 server:/share rw
a line that is none
"""


def test_the_kernels_own_file_systems_are_found_wherever_they_are_mounted() -> None:
    assert pseudo_mounts(MOUNTINFO) == {"/proc", "/sys", "/sys/fs/cgroup", "/srv/jail/a proc"}
    assert pseudo_mounts("") == frozenset()


@pytest.mark.skipif(sys.platform == "win32", reason="there is nothing of the kind")
def test_the_best_known_ones_are_always_among_them() -> None:
    assert {"/proc", "/sys", "/dev"} <= system_folders()
