"""Folders that hold no files: what the kernel shows of itself. A walk of the whole disk has no business there."""

from __future__ import annotations

import sys
from pathlib import Path

from registry.files.mounts import parse_mountinfo

_ALWAYS: frozenset[str] = frozenset() if sys.platform == "win32" else frozenset({"/proc", "/sys", "/dev"})
# Types of file systems, as /proc/self/mountinfo calls them, that are made up while one looks at them.
_PSEUDO_TYPES = frozenset(
    {"autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"}
    | {"efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs"}
    | {"selinuxfs", "sysfs", "tracefs"}
)


def system_folders() -> frozenset[str]:
    """Paths that are never entered, unless one of them is a root itself."""
    return _ALWAYS | pseudo_mounts(_mountinfo())


def pseudo_mounts(mountinfo: str) -> frozenset[str]:
    """Where the kernel's own file systems are mounted, from the text of Linux' ``/proc/self/mountinfo``."""
    return frozenset(str(mount.point) for mount in parse_mountinfo(mountinfo) if mount.kind in _PSEUDO_TYPES)


def _mountinfo() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
