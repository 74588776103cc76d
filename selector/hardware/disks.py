"""What kind of disk a folder lies on, which says how long a model takes that is not in memory yet.

Linux: ``mountinfo`` and the block devices of ``/sys``; macOS: ``diskutil``; Windows: one PowerShell script. What cannot
be found out is ``unknown``, never an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import psutil

from selector.hardware.files import entries, read_text, read_word
from selector.hardware.queries import Query
from selector.hardware.values import Disk, DiskClass

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afpfs", "webdav", "9p", "ceph", "glusterfs", "lustre", "afs"}
)
_FUSE = frozenset({"fuse", "fuseblk", "macfuse", "osxfuse", "virtiofs", "vboxsf", "drvfs"})
_MEMORY = frozenset({"tmpfs", "ramfs"})
# From slow to fast: several devices behind one file system are as slow as the slowest.
_SLOWEST_FIRST = (DiskClass.HDD, DiskClass.USB, DiskClass.CARD, DiskClass.VIRTUAL, DiskClass.SSD, DiskClass.NVME)
# Device mapper on RAID on loop on ...: no real stack is deeper.
_MOST_LAYERS = 8
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class _Mount:
    point: PurePosixPath
    kind: str
    source: str
    number: str  # "major:minor"


def linux_disks(paths: Iterable[Path], root: Path) -> tuple[Disk, ...]:
    """``paths`` absolute and without links; ``proc`` and ``sys`` are those under ``root``."""
    mounts = _parse_mountinfo(read_text(root / "proc/self/mountinfo"))
    return tuple(_linux_disk(path, mounts, root) for path in paths)


def _linux_disk(path: Path, mounts: Sequence[_Mount], root: Path) -> Disk:
    place = PurePosixPath(path.as_posix())
    above = [mount for mount in mounts if place.is_relative_to(mount.point)]
    if not above:
        return Disk(str(path), DiskClass.UNKNOWN)
    # Of several at one point the last hides the others.
    mount = max(reversed(above), key=lambda mount: len(mount.point.parts))
    kind = _class_of_filesystem(mount.kind)
    if kind is None:
        device = _block_device(mount, root)
        kind = _block_class(device, _MOST_LAYERS) if device is not None else DiskClass.UNKNOWN
    return Disk(str(path), kind, filesystem=mount.kind, device=mount.source)


def _parse_mountinfo(text: str) -> list[_Mount]:
    mounts = []
    for line in text.splitlines():
        # number, parent, major:minor, root, mount point, options, then any tags, a dash, type, source, options
        before, dash, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if dash and len(left) > 4 and len(right) > 1:
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), left[4])
            mounts.append(_Mount(PurePosixPath(point), right[0], right[1], left[2]))
    return mounts


def _class_of_filesystem(kind: str) -> DiskClass | None:
    if kind in _MEMORY:
        return DiskClass.MEMORY
    if kind in _NETWORK:
        return DiskClass.NETWORK
    return DiskClass.FUSE if kind in _FUSE or kind.startswith("fuse.") else None


def _block_device(mount: _Mount, root: Path) -> Path | None:
    """Its folder in ``/sys``. btrfs and others have numbers of their own: those are found by the name of the source."""
    candidates = [root / "sys/dev/block" / mount.number]
    if mount.source.startswith("/dev/"):
        candidates.append(root / "sys/class/block" / PurePosixPath(mount.source).name)
    for candidate in candidates:
        try:
            return candidate.resolve(strict=True)
        except (OSError, RuntimeError):
            continue
    return None


def _block_class(device: Path, layers: int) -> DiskClass:
    if (device / "partition").exists():
        device = device.parent
    below = entries(device / "slaves") if layers else []
    if below:  # device mapper and RAID
        kinds = {_block_class(_resolved(slave), layers - 1) for slave in below}
        return next((kind for kind in _SLOWEST_FIRST if kind in kinds), DiskClass.UNKNOWN)
    name = device.name
    if name.startswith(("vd", "xvd")):
        return DiskClass.VIRTUAL
    if name.startswith("nvme"):
        return DiskClass.NVME
    if name.startswith("mmcblk"):
        return DiskClass.CARD
    if any(part.startswith("usb") for part in device.parts):
        return DiskClass.USB
    return {"1": DiskClass.HDD, "0": DiskClass.SSD}.get(read_word(device / "queue/rotational"), DiskClass.UNKNOWN)


def _resolved(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):
        return link


def portable_mounts() -> list[tuple[str, str, str]]:
    """Source, mount point and type of every file system, as psutil lists them."""
    return [(mount.device, mount.mountpoint, mount.fstype) for mount in psutil.disk_partitions(all=True)]


def mac_disks(paths: Iterable[Path], mounts: Sequence[tuple[str, str, str]], query: Query) -> tuple[Disk, ...]:
    return tuple(_mac_disk(path, mounts, query) for path in paths)


def _mac_disk(path: Path, mounts: Sequence[tuple[str, str, str]], query: Query) -> Disk:
    place = PurePosixPath(path.as_posix())
    above = [mount for mount in mounts if place.is_relative_to(mount[1])]
    if not above:
        return Disk(str(path), DiskClass.UNKNOWN)
    device, _, filesystem = max(above, key=lambda mount: len(PurePosixPath(mount[1]).parts))
    kind = _class_of_filesystem(filesystem)
    if kind is None:
        kind = parse_diskutil(query(("diskutil", "info", "-plist", device)) or "")
    return Disk(str(path), kind, filesystem=filesystem, device=device)


def parse_diskutil(text: str) -> DiskClass:
    """By the bus and whether it is solid state; Apple's own disks hang on a bus of their own ("Apple Fabric")."""
    import plistlib  # with an XML parser, which no other system needs
    from xml.parsers.expat import ExpatError

    try:
        facts: Any = plistlib.loads(text.encode())
        bus, is_solid = str(facts.get("BusProtocol", "")), facts.get("SolidState")
    except (ValueError, AttributeError, ExpatError, plistlib.InvalidFileException):
        return DiskClass.UNKNOWN
    if bus in ("Apple Fabric", "PCI-Express", "PCI"):
        return DiskClass.NVME
    if bus == "Secure Digital":
        return DiskClass.CARD
    if bus == "USB":
        return DiskClass.USB
    return {True: DiskClass.SSD, False: DiskClass.HDD}.get(is_solid, DiskClass.UNKNOWN)


# A drive letter leads to a partition, that to a disk, and that to what the disk is made of.
_SCRIPT = r"""
$ErrorActionPreference = 'SilentlyContinue'
[Console]::OutputEncoding = [Text.Encoding]::UTF8
@{
  disks = @(Get-PhysicalDisk | Select-Object DeviceId, @{ Name = 'Media'; Expression = { "$($_.MediaType)" } },
    @{ Name = 'Bus'; Expression = { "$($_.BusType)" } })
  letters = @(Get-Partition | Where-Object DriveLetter | Select-Object DiskNumber,
    @{ Name = 'Letter'; Expression = { "$($_.DriveLetter)" } })
  network = @(Get-CimInstance Win32_LogicalDisk -Filter 'DriveType=4' | Select-Object DeviceID)
} | ConvertTo-Json -Depth 4 -Compress
"""
DISKS_QUERY = ("powershell.exe", "-NoProfile", "-NonInteractive", "-Command", _SCRIPT)
_WINDOWS_BUSES = {"NVMe": DiskClass.NVME, "USB": DiskClass.USB, "SD": DiskClass.CARD, "MMC": DiskClass.CARD}
_WINDOWS_MEDIA = {"SSD": DiskClass.SSD, "HDD": DiskClass.HDD}


def windows_disks(paths: Iterable[PurePath], query: Query) -> tuple[Disk, ...]:
    """By drive letter; a path that starts with a server's name is on the network."""
    kinds = _windows_kinds(query(DISKS_QUERY) or "")
    return tuple(_windows_disk(path, kinds) for path in paths)


def _windows_disk(path: PurePath, kinds: dict[str, DiskClass]) -> Disk:
    drive = path.drive.upper().removeprefix("\\\\?\\")
    is_share = drive.startswith(("\\\\", "UNC\\"))
    kind = DiskClass.NETWORK if is_share else kinds.get(drive, DiskClass.UNKNOWN)
    return Disk(str(path), kind, device=drive or None)


def _windows_kinds(text: str) -> dict[str, DiskClass]:
    """ "C:" -> what it is; {} where PowerShell printed something else."""
    try:
        answer = json.loads(text)
        numbers = {str(disk["DeviceId"]): _windows_kind(disk) for disk in answer["disks"]}
        kinds = {f"{item['Letter']}:": numbers.get(str(item["DiskNumber"])) for item in answer["letters"]}
        kinds |= {str(item["DeviceID"]): DiskClass.NETWORK for item in answer["network"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return {drive.upper(): kind or DiskClass.UNKNOWN for drive, kind in kinds.items()}


def _windows_kind(disk: dict[str, str]) -> DiskClass:
    """A virtual machine's disk says "Unspecified" as its media."""
    kind = _WINDOWS_BUSES.get(disk["Bus"]) or _WINDOWS_MEDIA.get(disk["Media"])
    return kind or (DiskClass.VIRTUAL if disk["Media"] == "Unspecified" else DiskClass.UNKNOWN)
