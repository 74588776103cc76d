from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from selector.hardware import DiskClass
from selector.hardware.disks import linux_disks, mac_disks, parse_diskutil, portable_mounts, windows_disks
from tests.selector.hardware.recorded import answering, plant, sample, silent, write


def linux(root: Path, *paths: str) -> list[DiskClass]:
    return [disk.kind for disk in linux_disks(map(Path, paths), root)]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/opt/models", DiskClass.NVME),  # btrfs: by the name of its source
        ("/home/me/models", DiskClass.NVME),  # encrypted: by what the mapper stands on
        ("/mnt/share/phi", DiskClass.NETWORK),
        ("/mnt/my drive/phi", DiskClass.FUSE),
        ("/run/user/1000/x", DiskClass.MEMORY),
        ("/media/stick", DiskClass.USB),
        ("/mnt/old/x", DiskClass.HDD),
        ("/var/overlay/x", DiskClass.UNKNOWN),
        ("/mnt/older", DiskClass.NVME),  # its name begins like a mount's, and it is not on it
    ],
)
def test_kinds_of_disks_of_a_laptop(tmp_path: Path, path: str, kind: DiskClass) -> None:
    assert linux(plant(tmp_path, "linux-hybrid-laptop"), path) == [kind]


def test_a_mirror_is_as_slow_as_its_slowest_disk_and_the_last_mount_hides_the_others(tmp_path: Path) -> None:
    root = plant(tmp_path, "linux-amd-workstation")
    assert linux(root, "/", "/models/phi") == [DiskClass.HDD, DiskClass.HDD]


def test_memory_card_and_virtual_disk(tmp_path: Path) -> None:
    assert linux(plant(tmp_path, "linux-arm-board"), "/models") == [DiskClass.CARD]
    machine = write(
        tmp_path / "vm",
        {
            "proc/self/mountinfo": "27 1 254:0 / / rw - ext4 /dev/vda rw\n",
            "sys/devices/virtio/block/vda/queue/rotational": "1",
        },
    )
    (machine / "sys/dev/block").mkdir(parents=True)
    (machine / "sys/dev/block/254:0").symlink_to("../../devices/virtio/block/vda")
    (disk,) = linux_disks([Path("/models")], machine)
    assert (disk.kind, disk.filesystem, disk.device) == (DiskClass.VIRTUAL, "ext4", "/dev/vda")


@pytest.mark.parametrize("text", ["", "x", " - ", "1 2 3 4 / - ext4", "27 1 254:0 / / rw - ext4 /dev/none rw"])
def test_what_cannot_be_found_out_is_unknown(tmp_path: Path, text: str) -> None:
    assert linux(write(tmp_path, {"proc/self/mountinfo": text}), "/models") == [DiskClass.UNKNOWN]


def test_devices_that_stand_on_each_other_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/mountinfo": "1 0 253:0 / / rw - ext4 /dev/dm-0 rw\n",
            "sys/devices/dm-0/queue/rotational": "0",
            "sys/devices/dm-0/slaves/.keep": "",
        },
    )
    (root / "sys/devices/dm-0/slaves/dm-0").symlink_to("../../dm-0")
    (root / "sys/devices/dm-0/slaves/.keep").unlink()
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/253:0").symlink_to("../../devices/dm-0")
    assert linux(root, "/x") == [DiskClass.SSD]


MAC_MOUNTS = [
    ("/dev/disk3s1s1", "/", "apfs"),
    ("/dev/disk3s5", "/System/Volumes/Data", "apfs"),
    ("//me@nas/models", "/Volumes/models", "smbfs"),
    ("drive@macfuse0", "/Volumes/cloud", "macfuse"),
]


def test_disks_of_a_mac() -> None:
    query = answering({("diskutil", "info", "-plist"): sample("mac.diskutil-internal.plist")})
    paths = [Path(p) for p in ("/System/Volumes/Data/Users/me", "/Volumes/models/phi", "/Volumes/cloud/x")]
    inside, share, cloud = mac_disks(paths, MAC_MOUNTS, query)
    assert (inside.kind, inside.filesystem, inside.device) == (DiskClass.NVME, "apfs", "/dev/disk3s5")
    assert (share.kind, cloud.kind) == (DiskClass.NETWORK, DiskClass.FUSE)
    (unknown,) = mac_disks(paths[:1], MAC_MOUNTS, silent)
    assert unknown.kind is DiskClass.UNKNOWN
    (nowhere,) = mac_disks(paths[:1], [], silent)
    assert nowhere.kind is DiskClass.UNKNOWN


@pytest.mark.parametrize(
    ("bus", "solid", "kind"),
    [
        ("PCI-Express", "true", DiskClass.NVME),
        ("USB", "true", DiskClass.USB),
        ("Secure Digital", "true", DiskClass.CARD),
        ("SATA", "true", DiskClass.SSD),
        ("SATA", "false", DiskClass.HDD),
    ],
)
def test_bus_of_a_mac_disk(bus: str, solid: str, kind: DiskClass) -> None:
    text = sample("mac.diskutil-internal.plist").replace("Apple Fabric", bus).replace("<true/>", f"<{solid}/>")
    assert parse_diskutil(text) is kind


@pytest.mark.parametrize("text", ["", "x", "<plist", "<plist version='1.0'><array/></plist>", "bplist00"])
def test_mac_answer_that_is_none(text: str) -> None:
    assert parse_diskutil(text) is DiskClass.UNKNOWN


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (r"C:\Users\me\.foundry", DiskClass.NVME),
        (r"d:\models", DiskClass.HDD),
        (r"E:\x", DiskClass.VIRTUAL),
        (r"F:\x", DiskClass.USB),
        (r"G:\x", DiskClass.SSD),
        (r"Z:\x", DiskClass.NETWORK),
        (r"\\nas\models\phi", DiskClass.NETWORK),
        (r"\\?\UNC\nas\models\phi", DiskClass.NETWORK),
        (r"Q:\x", DiskClass.UNKNOWN),
    ],
)
def test_disks_of_a_windows_machine(path: str, kind: DiskClass) -> None:
    query = answering({("powershell.exe",): sample("windows-disks.json")})
    assert [disk.kind for disk in windows_disks([PureWindowsPath(path)], query)] == [kind]


@pytest.mark.parametrize("output", ["", "x", "[]", "{}", '{"disks": [{}], "letters": [], "network": []}'])
def test_windows_answer_that_is_none(output: str) -> None:
    query = answering({("powershell.exe",): output})
    assert [disk.kind for disk in windows_disks([PureWindowsPath(r"C:\x")], query)] == [DiskClass.UNKNOWN]


def test_this_machine_has_mounts() -> None:
    assert any(PurePosixPath(point) == PurePosixPath("/") or ":" in point for _, point, _ in portable_mounts())
