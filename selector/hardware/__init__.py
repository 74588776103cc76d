"""What this machine can do: frozen values and the readers that fill them."""

from __future__ import annotations

from selector.hardware.values import Accelerator, Cpu, Hardware, Memory, Probes

__all__ = ["Accelerator", "Cpu", "Hardware", "Memory", "Probes"]
