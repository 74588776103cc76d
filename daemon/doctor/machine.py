"""What slows models down on this machine, or keeps them from using all of it. ``slmreg hw`` tells the rest."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator

from daemon.doctor.finding import Finding, Level
from registry.model import Device, ExecutionProvider, Model, Status
from selector.footprint import format_bytes
from selector.hardware import Hardware
from selector.hardware.values import Memory

# Less than a small model with a short context needs.
_LITTLE_MEMORY_BYTES = 1_000_000_000
# What lies in swap was not used for long; more than this is a machine that lacks memory (judged).
_MUCH_SWAP_BYTES = 512_000_000
_X86 = frozenset({"x86_64", "amd64"})


def hardware_findings(hardware: Hardware, *, slow_mode: str | None, machine: str | None = None) -> Iterator[Finding]:
    """``slow_mode`` is what holds the processor's frequency down, ``machine`` the kind of processor (this one's)."""
    cpu, memory = hardware.cpu, hardware.memory
    yield Finding(
        Level.OK,
        "machine",
        f"{cpu.name}, {cpu.usable_cores} usable of {cpu.physical_cores} cores, "
        f"{format_bytes(memory.available_bytes)} of {format_bytes(memory.total_bytes)} memory available",
    )
    if (machine or platform.machine()).lower() in _X86 and not _has_avx2(cpu.flags):
        yield _note("processor", "has no AVX2: models run several times slower", "Use small models.")
    if cpu.usable_cores < cpu.physical_cores:
        yield _note(
            "cores",
            f"only {cpu.usable_cores} of {cpu.physical_cores} may be used: an affinity or a container's quota",
            "Give the container or service more (`docker run --cpus`, systemd's CPUQuota).",
        )
    yield from _memory_findings(memory)
    yield from _power_findings(hardware, slow_mode)
    yield from _accelerator_findings(hardware)


def _has_avx2(flags: Iterable[str]) -> bool:
    """True where the system tells no flags at all."""
    known = {flag.lower() for flag in flags}
    return not known or any(flag.startswith(("avx2", "avx512")) for flag in known)


def _memory_findings(memory: Memory) -> Iterator[Finding]:
    if memory.limit_bytes is not None:
        yield _note(
            "memory limit",
            f"a container or service allows {format_bytes(memory.limit_bytes)} of {format_bytes(memory.total_bytes)}",
            "Models count against it. Raise it where they do not fit (`docker run --memory`, systemd's MemoryMax).",
        )
    if memory.available_bytes < _LITTLE_MEMORY_BYTES:
        yield _note(
            "memory",
            f"only {format_bytes(memory.available_bytes)} are available",
            "Close other programs, or unload models (`slmreg ps`, `slmreg unload`).",
        )
    used_bytes = (memory.swap_total_bytes or 0) - (memory.swap_free_bytes or 0)
    if used_bytes > _MUCH_SWAP_BYTES:
        yield _note(
            "swap",
            f"{format_bytes(used_bytes)} are in use: a model that is swapped out answers no faster than the disk",
            "Close other programs, or bound the models with `memory_budget_bytes`.",
        )


def _power_findings(hardware: Hardware, slow_mode: str | None) -> Iterator[Finding]:
    if hardware.power.on_battery:
        yield _note("power", "runs on battery, which slows the processor down", "Plug it in for full speed.")
    if slow_mode is not None:
        yield _note(
            "power",
            f"the processor is told to save energy ({slow_mode})",
            "For full speed: `powerprofilesctl set performance`, or `cpupower frequency-set -g performance`.",
        )


def _accelerator_findings(hardware: Hardware) -> Iterator[Finding]:
    for accelerator in hardware.accelerators:
        if accelerator.usable:
            providers = ", ".join(accelerator.execution_providers)
            yield Finding(Level.OK, "accelerator", f"{accelerator.name}: used by {providers}")
        else:
            # The reason ends with what to install.
            reason, _, advice = (accelerator.reason or "It cannot be used.").partition(". ")
            yield _note("accelerator", f"{accelerator.name} is not used. {reason.removesuffix('.')}.", advice or None)


def provider_findings(models: Iterable[Model], hardware: Hardware) -> Iterator[Finding]:
    """Models that were made for an execution provider that is not installed."""
    lacking: dict[ExecutionProvider, list[str]] = {}
    for model in models:
        provider = model.execution_provider
        if model.status is Status.READY and provider not in (*hardware.execution_providers, ExecutionProvider.CPU):
            lacking.setdefault(provider, []).append(model.id)
    has_gpu = any(accelerator.device is not Device.CPU for accelerator in hardware.accelerators)
    for provider, ids in sorted(lacking.items()):
        yield _note(
            "provider",
            f"{len(ids)} models need the execution provider {provider}, which is not installed",
            "`slmreg hw` says which package brings it." if has_gpu else "This machine has no device for it.",
            tuple(ids),
        )


def _note(subject: str, message: str, advice: str | None, items: tuple[str, ...] = ()) -> Finding:
    return Finding(Level.NOTE, subject, message, advice, items)
