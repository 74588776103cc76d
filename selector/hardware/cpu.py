"""The CPU: its name and its instruction sets.

Invariant: nothing slow is imported or run where the operating system answers itself; py-cpuinfo costs over a second, so
its answer is kept in a file.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.hardware.cache import HardwareCache
from selector.hardware.files import read_text, read_word

CACHE_NAME = "cpu"
# py-cpuinfo's answer does not change while the machine is the same.
CACHE_AGE_S = 90 * 86_400.0

# What ONNX Runtime's int4 and int8 kernels are chosen by, under the names that Linux, py-cpuinfo and macOS use.
_KERNEL_NAMES = {
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avxvnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512vnni": "avx512_vnni",
    "amx_int8": "amx_int8",
    "neon": "neon",
    "asimd": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
# sysctl hw.optional...: 1, by the flag of Linux that means the same.
_MAC_FEATURES = {
    "hw.optional.neon": "asimd",
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
}
# IsProcessorFeaturePresent of winnt.h, for what py-cpuinfo cannot see (it knows nothing of Arm there).
_WINDOWS_FEATURES = {
    19: "asimd",
    40: "avx2",
    41: "avx512f",
    43: "asimddp",
    46: "sve",
    47: "sve2",
    66: "i8mm",
    70: "sme",
}
# Arm does not put a name in /proc/cpuinfo, only who made the core and which one it is.
_ARM_CORES = {
    ("0x41", "0xd03"): "Arm Cortex-A53",
    ("0x41", "0xd05"): "Arm Cortex-A55",
    ("0x41", "0xd08"): "Arm Cortex-A72",
    ("0x41", "0xd0b"): "Arm Cortex-A76",
    ("0x41", "0xd0c"): "Arm Neoverse N1",
    ("0x41", "0xd40"): "Arm Neoverse V1",
    ("0x41", "0xd41"): "Arm Cortex-A78",
    ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd4f"): "Arm Neoverse V2",
    ("0x41", "0xd85"): "Arm Cortex-X925",
    ("0x51", "0x001"): "Qualcomm Oryon",
    ("0xc0", "0xac3"): "Ampere-1",
}


@dataclass(frozen=True, slots=True)
class CpuIdentity:
    name: str
    flags: tuple[str, ...]


def kernels(flags: Iterable[str]) -> tuple[str, ...]:
    """Those of ``flags`` that there are int4 and int8 kernels for, by one name each."""
    known = {_KERNEL_NAMES[flag] for flag in flags if flag in _KERNEL_NAMES}
    return tuple(name for name in dict.fromkeys(_KERNEL_NAMES.values()) if name in known)


def linux_identity(root: Path) -> CpuIdentity | None:
    """``proc/cpuinfo`` under ``root``; None if it names no instruction sets."""
    known = parse_proc_cpuinfo(read_text(root / "proc/cpuinfo"))
    if known is None or known.name:
        return known
    board = read_word(root / "proc/device-tree/model")
    return CpuIdentity(board or platform.machine() or "unknown", known.flags)


def parse_proc_cpuinfo(text: str) -> CpuIdentity | None:
    """The first CPU of ``/proc/cpuinfo`` (x86: "flags", Arm: "Features"); its name is "" if there is none."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip().lower(), value.strip())
    flags = fields.get("flags") or fields.get("features")
    if not flags:
        return None
    core = _ARM_CORES.get((fields.get("cpu implementer", ""), fields.get("cpu part", "")))
    name = fields.get("model name") or core or fields.get("model") or fields.get("hardware") or ""
    return CpuIdentity(name, tuple(sorted(set(flags.split()))))


def mac_identity(sysctl: Mapping[str, str]) -> CpuIdentity | None:
    """``sysctl hw`` and ``sysctl machdep.cpu``; Intel lists its features in words, Apple has a line for each."""
    name = sysctl.get("machdep.cpu.brand_string")
    if not name:
        return None
    flags = {flag for key, flag in _MAC_FEATURES.items() if sysctl.get(key) == "1"}
    for key in ("machdep.cpu.features", "machdep.cpu.leaf7_features"):
        flags.update(sysctl.get(key, "").lower().split())
    return CpuIdentity(name, tuple(sorted(flags)))


def cached_identity(cache: HardwareCache, ask: Callable[[], dict[str, Any]]) -> CpuIdentity:
    """py-cpuinfo's answer, from ``cache`` if it was asked on this machine before."""
    known = cache.find(CACHE_NAME, max_age_s=CACHE_AGE_S)
    if isinstance(known, dict) and isinstance(known.get("name"), str) and isinstance(known.get("flags"), list):
        return CpuIdentity(known["name"], tuple(str(flag) for flag in known["flags"]))
    answer = ask()
    identity = CpuIdentity(
        name=str(answer.get("brand_raw") or platform.machine() or "unknown"),
        flags=tuple(sorted(str(flag) for flag in answer.get("flags") or ())),
    )
    cache.keep(CACHE_NAME, {"name": identity.name, "flags": list(identity.flags)})
    return identity


def with_windows_features(identity: CpuIdentity, has_feature: Callable[[int], bool]) -> CpuIdentity:
    """``identity`` with the instruction sets that Windows itself tells."""
    told = {flag for number, flag in _WINDOWS_FEATURES.items() if has_feature(number)}
    return CpuIdentity(identity.name, tuple(sorted(told.union(identity.flags))))


def ask_cpuinfo() -> dict[str, Any]:
    """py-cpuinfo's answer; it starts child processes and takes over a second."""
    import cpuinfo

    answer: dict[str, Any] = cpuinfo.get_cpu_info()
    return answer
