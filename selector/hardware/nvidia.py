"""NVIDIA GPUs as their driver describes them: ``nvidia-smi``, and its files where that program is missing."""

from __future__ import annotations

import re
from pathlib import Path

from selector.hardware.files import count, entries, read_text
from selector.hardware.findings import NVIDIA, Found
from selector.hardware.queries import Query

NVIDIA_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free,driver_version",
    "--format=csv,noheader,nounits",
)
MIB = 1024 * 1024


def nvidia_gpus(query: Query) -> list[Found]:
    """One GPU per CSV line "name, total MiB, free MiB, driver". "[N/A]" stands where memory is shared with the host."""
    gpus = []
    for line in (query(NVIDIA_QUERY) or "").splitlines():
        fields = [field.strip() for field in line.rsplit(",", 3)]
        if len(fields) == 4 and fields[0]:
            gpus.append(_gpu(*fields))
    return gpus


def _gpu(name: str, total_mib: str, free_mib: str, driver: str) -> Found:
    total, free = count(total_mib), count(free_mib)
    return Found(
        vendor=NVIDIA,
        name=name,
        memory_total_bytes=None if total is None else total * MIB,
        memory_available_bytes=None if free is None else free * MIB,
        driver=driver if re.match(r"\d", driver) else None,
        is_integrated=total is None,
    )


def driver_files(root: Path) -> dict[str, str]:
    """Names by PCI address, from ``proc/driver/nvidia/gpus`` under ``root``: the driver is there, if they are."""
    names = {}
    for folder in entries(root / "proc/driver/nvidia/gpus"):
        model = re.search(r"^Model:\s*(.+?)\s*$", read_text(folder / "information"), re.MULTILINE)
        names[folder.name.lower()] = model[1] if model else ""
    return names


def driver_version(root: Path) -> str | None:
    """ "550.54.14" out of ``proc/driver/nvidia/version``."""
    match = re.search(r"Kernel Module.*?(\d+\.\d+(?:\.\d+)?)", read_text(root / "proc/driver/nvidia/version"))
    return match[1] if match else None
