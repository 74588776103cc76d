"""What this machine can do: frozen values and the readers that fill them."""

from __future__ import annotations

from selector.hardware.values import (
    Accelerator,
    Cpu,
    Disk,
    DiskClass,
    Hardware,
    Memory,
    Power,
    Probes,
    ProviderDevice,
)

__all__ = ["Accelerator", "Cpu", "Disk", "DiskClass", "Hardware", "Memory", "Power", "Probes", "ProviderDevice"]
