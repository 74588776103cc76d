"""What control groups allow this process, read from a file tree. Outside Linux there are no such files: no limits.

Every ancestor counts, because each one bounds all that is below it; versions 1 and 2 may be mounted side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from selector.hardware.files import count, read_count, read_text

# Version 1 writes "no limit" as the largest multiple of the page size in a signed 64-bit number.
V1_UNLIMITED_BYTES = 9223372036854771712
# Of the hierarchies of version 1, of which there is one for nearly every controller.
_LIMITING = frozenset({"memory", "cpu"})

_Memberships = list[tuple[frozenset[str], str]]
_Mount = tuple[int, str, str, list[str]]


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """The tightest of all ancestors; None where none of them sets one. ``cpu_quota`` is in cores."""

    memory_limit_bytes: int | None = None
    memory_available_bytes: int | None = None
    cpu_quota: float | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """One directory that bounds this process, under the mount of ``version``."""

    directory: Path
    version: int
    controllers: frozenset[str]


def cgroup_limits(root: Path = Path("/")) -> CgroupLimits:
    """The limits on this process, from ``proc/self`` and the cgroup mounts under ``root``. Never raises."""
    limits: list[int] = []
    available: list[int] = []
    quotas: list[float] = []
    for group in _groups(root):
        memory = _memory_v2(group.directory) if group.version == 2 else _memory_v1(group)
        if memory is not None:
            limit, headroom = memory
            limits.append(limit)
            available.append(headroom)
        quota = _quota_v2(group.directory) if group.version == 2 else _quota_v1(group)
        if quota is not None:
            quotas.append(quota)
    return CgroupLimits(min(limits, default=None), min(available, default=None), min(quotas, default=None))


def _memory_v2(directory: Path) -> tuple[int, int] | None:
    """``memory.high`` counts like the limit itself: beyond it the kernel reclaims until nothing else gets done."""
    limits = [read_count(directory / name) for name in ("memory.max", "memory.high")]
    limit = min((limit for limit in limits if limit is not None), default=None)
    if limit is None:
        return None
    usage = read_count(directory / "memory.current")
    return _headroom(limit, usage, _stat(directory / "memory.stat", "inactive_file"))


def _memory_v1(group: _Group) -> tuple[int, int] | None:
    """The limit of ancestors that a container does not see stands in its own ``memory.stat``."""
    if "memory" not in group.controllers:
        return None
    statistics = group.directory / "memory.stat"
    limits = [read_count(group.directory / "memory.limit_in_bytes"), _stat(statistics, "hierarchical_memory_limit")]
    limit = min((limit for limit in limits if limit is not None and limit < V1_UNLIMITED_BYTES), default=None)
    if limit is None:
        return None
    usage = read_count(group.directory / "memory.usage_in_bytes")
    return _headroom(limit, usage, _stat(statistics, "total_inactive_file"))


def _headroom(limit: int, usage: int | None, inactive_file: int | None) -> tuple[int, int]:
    """Limit and limit - usage + inactive_file: the kernel drops inactive file pages before it kills anything."""
    return limit, min(limit, max(0, limit - (usage or 0) + (inactive_file or 0)))


def _quota_v2(directory: Path) -> float | None:
    fields = read_text(directory / "cpu.max").split()
    if len(fields) != 2:
        return None
    quota, period = count(fields[0]), count(fields[1])  # "max 100000": no quota
    return None if quota is None or period is None else _cores(quota, period)


def _quota_v1(group: _Group) -> float | None:
    if "cpu" not in group.controllers:
        return None
    quota = read_count(group.directory / "cpu.cfs_quota_us")  # "-1": no quota
    period = read_count(group.directory / "cpu.cfs_period_us")
    return None if quota is None or period is None else _cores(quota, period)


def _cores(quota_us: int, period_us: int) -> float | None:
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _groups(root: Path) -> tuple[_Group, ...]:
    """Every directory from this process's own group up to the mount point, in every hierarchy that can set a limit."""
    return _groups_of(root, read_text(root / "proc/self/cgroup"), read_text(root / "proc/self/mountinfo"))


# The memory is read for every answer, and a process hardly ever comes into another group.
@lru_cache(maxsize=1)
def _groups_of(root: Path, cgroup: str, mountinfo: str) -> tuple[_Group, ...]:
    return tuple(_walk(root, _memberships(cgroup), _mounts(mountinfo)))


def _walk(root: Path, members: _Memberships, mounts: Iterable[_Mount]) -> Iterator[_Group]:
    for version, mount_root, mount_point, options in mounts:
        controllers = frozenset(options) if version == 1 else frozenset()
        if version == 1 and not controllers & _LIMITING:
            continue
        path = next((path for names, path in members if (names & controllers if version == 1 else not names)), None)
        if path is None:
            continue
        base = root / mount_point.lstrip("/")
        directory = base / _below(path, mount_root)
        while True:
            yield _Group(directory, version, controllers)
            if directory == base:
                break
            directory = directory.parent


def _memberships(cgroup: str) -> _Memberships:
    """Controllers and path of ``proc/self/cgroup``; version 2 has no controllers there ("0::/path")."""
    members = []
    for line in cgroup.splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            members.append((frozenset(filter(None, fields[1].split(","))), fields[2]))
    return members


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    """Version, path inside the hierarchy, mount point and controllers of each line of ``proc/self/mountinfo``."""
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if not separator or len(left) < 5 or len(right) < 3 or right[0] not in ("cgroup", "cgroup2"):
            continue
        yield 2 if right[0] == "cgroup2" else 1, left[3], left[4], right[2].split(",")


def _below(path: str, mount_root: str) -> str:
    """``path`` as seen from the mount; "" if the mount does not show it (then the mount point is what counts)."""
    group = PurePosixPath(path)
    if ".." in group.parts or not group.is_relative_to(mount_root):
        return ""
    return str(group.relative_to(mount_root))


def _stat(file: Path, key: str) -> int | None:
    for line in read_text(file).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return count(value)
    return None
