"""The GPUs of a Mac, from ``system_profiler`` and ``sysctl``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from registry.model import Device
from selector.hardware.files import count
from selector.hardware.findings import AMD, APPLE, INTEL, NVIDIA, Found
from selector.hardware.queries import Query

DISPLAYS_QUERY = ("system_profiler", "-json", "SPDisplaysDataType")
GPU_LIMIT_QUERY = ("sysctl", "iogpu.wired_limit_mb")
MIB = 1024 * 1024
_UNITS = {"MB": MIB, "GB": 1024 * MIB}
# Metal lets the GPU have this share of the memory unless iogpu.wired_limit_mb says otherwise: two thirds below 36 GB,
# three quarters from there on (recommendedMaxWorkingSetSize in published logs: 28,991 MB of 36 GiB).
_LARGE_BYTES = 36 * 1024 * MIB
_SMALL_SHARE, _LARGE_SHARE = 2 / 3, 3 / 4


def mac_accelerators(query: Query, sysctl: Mapping[str, str]) -> list[Found]:
    """Every GPU, and on Apple's own chips the Neural Engine, which all of them have."""
    try:
        cards = json.loads(query(DISPLAYS_QUERY) or "{}")["SPDisplaysDataType"]
        found = [_gpu(card, query, sysctl) for card in cards if isinstance(card, dict) and _name(card)]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = []
    chip = sysctl.get("machdep.cpu.brand_string", "")
    if chip.startswith("Apple "):
        found = found or [_apple_gpu(chip, query, sysctl)]
        found.append(Found(APPLE, f"{chip} Neural Engine", Device.NPU, is_integrated=True))
    return found


def _name(card: Mapping[str, Any]) -> str:
    return str(card.get("sppci_model") or card.get("_name") or "")


def _gpu(card: Mapping[str, Any], query: Query, sysctl: Mapping[str, str]) -> Found:
    name = _name(card)
    text = f"{name} {card.get('spdisplays_vendor', '')}".lower()
    if "apple" in text:
        return _apple_gpu(name, query, sysctl)
    vendors = (("nvidia", NVIDIA), ("intel", INTEL), ("amd", AMD), ("radeon", AMD))
    vendor = next((vendor for word, vendor in vendors if word in text), "unknown")
    own = _size(str(card.get("spdisplays_vram", "")))
    return Found(vendor, name, memory_total_bytes=own, is_integrated=own is None)


def _apple_gpu(name: str, query: Query, sysctl: Mapping[str, str]) -> Found:
    limit = re.search(r"iogpu\.wired_limit_mb: (\d+)", query(GPU_LIMIT_QUERY) or "")
    memory = count(sysctl.get("hw.memsize", ""))
    shared = int(limit[1]) * MIB if limit and int(limit[1]) else _usual_share(memory)
    return Found(APPLE, name, is_integrated=True, shared_memory_bytes=shared)


def _usual_share(memory_bytes: int | None) -> int | None:
    if memory_bytes is None:
        return None
    return int(memory_bytes * (_LARGE_SHARE if memory_bytes >= _LARGE_BYTES else _SMALL_SHARE))


def _size(text: str) -> int | None:
    """ "8 GB", "1536 MB"."""
    match = re.fullmatch(r"(\d{1,6}) (MB|GB)", text.strip())
    return int(match[1]) * _UNITS[match[2]] if match else None
