"""Which file system a folder lies on, and why its changes would go unseen by the operating system's watcher, if so.

Native watching tells what goes through this machine's kernel. On a network share, and on most FUSE mounts, others
change files too, and nobody tells. The parsers are pure; each operating system has one thin reader for them.
"""

from __future__ import annotations

import ctypes
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

log = logging.getLogger("slmreg.watch")

# As they are called in /proc/self/mountinfo and by mount(8); "fuse" and "fuse.<program>" are told apart below.
_NETWORK_TYPES = frozenset(
    {"nfs", "nfs3", "nfs4", "afs", "coda", "ncp", "ncpfs"}
    | {"cifs", "smb2", "smb3", "smbfs", "afp", "afpfs", "webdav", "davfs"}
    | {"9p", "drvfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs"}  # folders of the machine around a virtual one
    | {"beegfs", "ceph", "glusterfs", "gpfs", "lustre", "orangefs", "acfs", "gfs2", "ocfs2"}  # clusters
)
# NTFS and exFAT through FUSE ("fuseblk") are disks of this machine: only its kernel changes them.
_FUSE_TYPES = frozenset({"fuse", "macfuse", "osxfuse", "fusefs"})
_OCTAL = re.compile(r"\\([0-7]{3})")
_MAC_MOUNT = re.compile(r"^.*? on (?P<point>/.*) \((?P<options>[^()]*)\)$")
_MOUNT_TIMEOUT_S = 5.0
_DRIVE_REMOTE = 4  # winbase.h


@dataclass(frozen=True, slots=True)
class Mount:
    """``point`` is where it is mounted, ``kind`` the type of its file system."""

    point: PurePosixPath
    kind: str


def polling_reason(folder: Path) -> str | None:
    """Why ``folder``, absolute and without links, has to be polled; None: the operating system tells of changes.

    What cannot be found out counts as a local disk.
    """
    if sys.platform == "win32":
        return windows_reason(str(folder), _drive_type)
    if sys.platform == "darwin":
        mounts = parse_mount_command(_mount_command())
    else:
        mounts = parse_mountinfo(_mountinfo())
    mount = mount_of(PurePosixPath(folder), mounts)
    return None if mount is None else reason_for(mount)


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Linux: ``/proc/self/mountinfo``, in the order of mounting. A line that is not understood is passed over."""
    mounts = []
    for line in text.splitlines():
        # ID, parent, device, root, mount point, options, then any number of tags, a dash, type, source, options
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ", 1)[0]
        if dash and len(fields) > 4 and kind:
            mounts.append(Mount(PurePosixPath(_unescaped(fields[4])), kind))
    return tuple(mounts)


def parse_mount_command(text: str) -> tuple[Mount, ...]:
    """macOS: what ``mount`` prints, ``source on point (type, options)``; not ``local`` means from the network."""
    mounts = []
    for line in text.splitlines():
        if (match := _MAC_MOUNT.match(line)) is not None:
            kind, *options = (option.strip() for option in match["options"].split(","))
            is_known = kind in _NETWORK_TYPES | _FUSE_TYPES
            mounts.append(
                Mount(PurePosixPath(match["point"]), kind if is_known or "local" in options else f"net:{kind}")
            )
    return tuple(mounts)


def mount_of(folder: PurePosixPath, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that ``folder`` lies on: the deepest, and of several at one point the last, which hides the others."""
    deepest: Mount | None = None
    for mount in mounts:
        is_above = folder.is_relative_to(mount.point)
        if is_above and (deepest is None or len(mount.point.parts) >= len(deepest.point.parts)):
            deepest = mount
    return deepest


def reason_for(mount: Mount) -> str | None:
    """Why what lies on ``mount`` has to be polled, or None."""
    if mount.kind in _FUSE_TYPES or mount.kind.startswith("fuse."):
        return f"{mount.point} is a FUSE mount ({mount.kind}), which does not tell of every change"
    if mount.kind in _NETWORK_TYPES or mount.kind.startswith("net:"):
        kind = mount.kind.removeprefix("net:")
        return f"{mount.point} is a network file system ({kind}), which does not tell of changes made elsewhere"
    return None


def _unescaped(text: str) -> str:
    """The kernel writes space, tab, line feed and backslash as three octal digits."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _mountinfo() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _mount_command() -> str:
    try:
        run = subprocess.run(
            ["/sbin/mount"], capture_output=True, timeout=_MOUNT_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("watch.mounts_unknown reason='%s'", error)
        return ""
    return run.stdout.decode("utf-8", "surrogateescape")


def windows_reason(folder: str, drive_type: Callable[[str], int]) -> str | None:
    """Why ``folder`` has to be polled, or None; ``drive_type`` is GetDriveTypeW, asked about ``C:\\``."""
    drive = PureWindowsPath(folder).drive
    plain = drive.removeprefix("\\\\?\\")
    is_share = plain == drive and drive.startswith("\\\\") and not drive.startswith("\\\\.\\")
    if is_share or plain.upper().startswith("UNC\\"):
        return f"{drive} is a network share, which does not tell of every change"
    if plain and drive_type(f"{plain}\\") == _DRIVE_REMOTE:
        return f"{plain} is a network drive, which does not tell of every change"
    return None


def _drive_type(root: str) -> int:
    if sys.platform == "win32":
        return int(ctypes.windll.kernel32.GetDriveTypeW(ctypes.c_wchar_p(root)))
    return 0
