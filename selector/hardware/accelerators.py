"""GPUs and NPUs of this machine, and whether an execution provider of this installation can drive them.

Each system has its reader; ``nvidia-smi`` is asked on all but macOS, because it knows more than any of them. A machine
on which none answers has no accelerator as far as slmreg knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from registry.model import ExecutionProvider
from selector.hardware.apple import mac_accelerators
from selector.hardware.findings import NVIDIA, Found, judge
from selector.hardware.nvidia import nvidia_gpus
from selector.hardware.pci import pci_accelerators
from selector.hardware.queries import Query
from selector.hardware.values import Accelerator
from selector.hardware.windows import windows_accelerators


def find_accelerators(
    installed: Sequence[ExecutionProvider],
    *,
    root: Path,
    query: Query,
    system: str,
    sysctl: Mapping[str, str] | None = None,
) -> tuple[Accelerator, ...]:
    """Every GPU and NPU that can be seen, usable or not; ``system`` as in ``sys.platform``."""
    return tuple(judge(found, installed, system=system) for found in _find(root, query, system, sysctl or {}))


def _find(root: Path, query: Query, system: str, sysctl: Mapping[str, str]) -> list[Found]:
    if system == "darwin":
        return mac_accelerators(query, sysctl)
    nvidia = nvidia_gpus(query)
    others = windows_accelerators(query) if system == "win32" else pci_accelerators(root)
    # Where nvidia-smi answered, the bare devices are the same ones again.
    return [*nvidia, *(found for found in others if not (nvidia and found.vendor == NVIDIA))]
