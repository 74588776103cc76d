from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from registry.files.mounts import (
    Mount,
    mount_of,
    parse_mount_command,
    parse_mountinfo,
    polling_reason,
    reason_for,
    windows_reason,
)

# The form of each line is proc_pid_mountinfo(5)'s, with none, one and several tags before the dash.
MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:40 / /mnt/nas rw,relatime shared:7 master:3 - nfs4 nas:/models rw,vers=4.2
41 27 0:41 / /mnt/my\040share\134\011x rw - cifs //nas/models rw
42 27 0:42 / /home/ada/drive rw,nosuid,nodev - fuse.rclone drive: rw,user_id=1000
43 27 8:17 / /media/usb\040stick rw,nosuid - fuseblk /dev/sdb1 rw,user_id=0
44 27 0:44 / /mnt/c rw,noatime - 9p C:\ rw,dirsync,aname=drvfs
45 40 0:45 / /mnt/nas/local rw - tmpfs tmpfs rw
46 27 8:33 / /over rw - nfs a:/b rw
47 46 8:34 / /over rw - xfs /dev/sdc2 rw
not a line of this file
48 27 0:48 / /truncated rw
""".strip()

MOUNT_COMMAND = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect)
//ada@nas._smb._tcp.local/models on /Volumes/my models (smbfs, nodev, nosuid, mounted by ada)
nas:/export on /Volumes/nfs (1) (nfs, nodev, nosuid, mounted by ada)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
sshfs@macfuse0 on /Users/ada/remote (macfuse, local, nodev, nosuid, synchronous, mounted by ada)
/dev/disk5s1 on /Volumes/USB (exfat, local, nodev, nosuid, noowners)
strange on /Volumes/strange (madeup, nodev)
nonsense
""".strip()


@pytest.mark.parametrize(
    ("folder", "kind", "is_polled"),
    [
        ("/home/ada/models", "ext4", False),
        ("/mnt/nas", "nfs4", True),
        ("/mnt/nas/phi/v1", "nfs4", True),
        ("/mnt/nasty", "ext4", False),
        ("/mnt/nas/local/phi", "tmpfs", False),
        ("/mnt/my share\\\tx/phi", "cifs", True),
        ("/home/ada/drive/models", "fuse.rclone", True),
        ("/media/usb stick/models", "fuseblk", False),
        ("/mnt/c/Users/ada/.foundry", "9p", True),
        ("/over/phi", "xfs", False),
        ("/truncated/phi", "ext4", False),
    ],
)
def test_what_linux_says(folder: str, kind: str, is_polled: bool) -> None:
    mount = mount_of(PurePosixPath(folder), parse_mountinfo(MOUNTINFO))
    assert mount is not None
    assert mount.kind == kind
    reason = reason_for(mount)
    assert (reason is not None) == is_polled
    assert reason is None or (kind in reason and str(mount.point) in reason)


@pytest.mark.parametrize(
    ("folder", "point", "is_polled"),
    [
        ("/Users/ada/models", "/", False),
        ("/System/Volumes/Data/x", "/System/Volumes/Data", False),
        ("/Volumes/my models/phi", "/Volumes/my models", True),
        ("/Volumes/nfs (1)/phi", "/Volumes/nfs (1)", True),
        ("/Users/ada/remote/phi", "/Users/ada/remote", True),
        ("/Volumes/USB/phi", "/Volumes/USB", False),
        ("/Volumes/strange", "/Volumes/strange", True),
    ],
)
def test_what_macos_says(folder: str, point: str, is_polled: bool) -> None:
    mount = mount_of(PurePosixPath(folder), parse_mount_command(MOUNT_COMMAND))
    assert mount is not None
    assert str(mount.point) == point
    assert (reason_for(mount) is not None) == is_polled


@pytest.mark.parametrize(
    ("folder", "is_polled"),
    [
        (r"C:\Users\ada\models", False),
        (r"Z:\models", True),
        (r"\\nas\models\phi", True),
        (r"\\wsl.localhost\Ubuntu\home\ada", True),
        (r"\\?\UNC\nas\models\phi", True),
        (r"\\?\C:\Users\ada", False),
        (r"\\?\Z:\models", True),
    ],
)
def test_what_windows_says(folder: str, is_polled: bool) -> None:
    asked: list[str] = []

    def drive_type(root: str) -> int:
        asked.append(root)
        return 4 if root == "Z:\\" else 3  # DRIVE_REMOTE, DRIVE_FIXED

    assert (windows_reason(folder, drive_type) is not None) == is_polled
    assert set(asked) <= {"C:\\", "Z:\\"}


def test_without_any_mounts_everything_is_local() -> None:
    assert mount_of(PurePosixPath("/x"), ()) is None
    assert parse_mountinfo("") == parse_mount_command("") == ()


def test_a_mount_of_the_whole_machine_is_above_everything() -> None:
    assert mount_of(PurePosixPath("/x/y"), [Mount(PurePosixPath("/"), "virtiofs")]) is not None


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    reason = polling_reason(tmp_path.resolve())
    assert reason is None or "file system" in reason or "mount" in reason or "network" in reason
