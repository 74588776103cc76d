"""Bytes that a model may use now, given what the machine has free and what sessions hold or would give back.

Invariant: never more than the machine has, and a session that is neither idle nor the model's own gives nothing back.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.model import Device, Model
from selector.footprint import reserve_bytes
from selector.hardware.values import Hardware
from selector.selection import SessionFacts


def available_bytes(
    hardware: Hardware,
    sessions: Sequence[SessionFacts] = (),
    *,
    for_model: str | None = None,
    memory_budget_bytes: int | None = None,
    memory_reserve_bytes: int | None = None,
) -> int:
    """RAM for one more model: free beyond the reserve, plus reclaimable sessions, plus ``for_model``'s own session.

    What the others may still take is theirs. ``memory_budget_bytes`` bounds all sessions together: what busy or pinned
    ones hold is taken off it. ``memory_reserve_bytes`` None: see ``reserve_bytes``.
    """
    ceiling = ceiling_bytes(hardware)
    staying = [s for s in sessions if not s.is_reclaimable and s.model_id != for_model]
    given_back = sum(s.resident_bytes for s in sessions) - sum(s.resident_bytes for s in staying)
    promised = sum(s.promised_bytes for s in staying)
    available = min(headroom_bytes(hardware, memory_reserve_bytes) + given_back - promised, ceiling)
    if memory_budget_bytes is not None:
        held = sum(s.resident_bytes for s in staying) + promised
        available = min(available, memory_budget_bytes - held)
    return max(0, available)


def ceiling_bytes(hardware: Hardware) -> int:
    """The most memory that there can ever be: the machine's, or what a container may have of it."""
    memory = hardware.memory
    return memory.total_bytes if memory.limit_bytes is None else min(memory.total_bytes, memory.limit_bytes)


def headroom_bytes(hardware: Hardware, memory_reserve_bytes: int | None = None) -> int:
    """RAM that is free beyond what is left to everything else; below 0 where others have taken of that."""
    reserve = reserve_bytes(ceiling_bytes(hardware)) if memory_reserve_bytes is None else memory_reserve_bytes
    return hardware.memory.available_bytes - reserve


def accelerator_bytes(hardware: Hardware, model: Model) -> int | None:
    """Free memory of the largest accelerator that can run ``model``; None if it computes in RAM or nobody knows.

    A tenth is left to the desktop and to the driver's own buffers.
    """
    if model.device is Device.CPU:
        return None
    free = [
        accelerator.memory_available_bytes * 9 // 10
        for accelerator in hardware.accelerators
        if accelerator.device is model.device
        and model.execution_provider in accelerator.execution_providers
        and accelerator.memory_available_bytes is not None
    ]
    return max(free, default=None)
