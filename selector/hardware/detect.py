"""One snapshot of the machine, and the cheap refresh of the part of it that changes all the time.

Invariant: no reader's failure reaches the caller; what cannot be read is replaced by a cautious answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from registry.model import ExecutionProvider
from selector.hardware.accelerators import Query, find_accelerators, run_query
from selector.hardware.cgroup import CgroupLimits, cgroup_limits
from selector.hardware.cpu import CoreCounts, CpuIdentity, ask_cpuinfo, count_cores, identify_cpu, usable_cores
from selector.hardware.memory import bounded_memory, host_memory
from selector.hardware.values import Cpu, Hardware, Memory

log = logging.getLogger("slmreg.hardware")

GIB = 1024**3
# What is taken for granted on a machine that does not say: enough for a small model, on one thread.
UNREAD_MEMORY = (2 * GIB, 1 * GIB)
UNREAD_CORES = CoreCounts(physical=1, logical=1, affinity=1)
UNREAD_CPU = CpuIdentity("unknown", ())

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Readers:
    """Where the facts come from. ``root`` is the file system with ``proc`` and ``sys``; tests pass recorded ones."""

    root: Path = Path("/")
    memory: Callable[[], tuple[int, int]] = host_memory
    cores: Callable[[], CoreCounts] = count_cores
    cpuinfo: Callable[[], dict[str, Any]] = ask_cpuinfo
    query: Query = run_query


def detect_hardware(
    *,
    execution_providers: tuple[ExecutionProvider, ...] = (ExecutionProvider.CPU,),
    cache_file: Path | None = None,
    readers: Readers = Readers(),
) -> Hardware:
    """The machine as this process may use it. Never raises; milliseconds on Linux, over a second once elsewhere.

    ``cache_file`` keeps what is slow to find out; ``execution_providers`` are those of the installed onnxruntime.
    """
    limits = _attempt("cgroup", lambda: cgroup_limits(readers.root), CgroupLimits())
    identity = _attempt("cpu", lambda: identify_cpu(readers.root, cache_file, readers.cpuinfo), UNREAD_CPU)
    cores = _attempt("cores", readers.cores, UNREAD_CORES)
    return Hardware(
        cpu=Cpu(
            name=identity.name,
            physical_cores=cores.physical,
            logical_cores=cores.logical,
            usable_cores=usable_cores(cores, limits.cpu_quota),
            flags=identity.flags,
        ),
        memory=_memory(readers, limits),
        accelerators=_attempt(
            "accelerators",
            lambda: find_accelerators(execution_providers, root=readers.root, query=readers.query),
            (),
        ),
        execution_providers=execution_providers,
    )


def refresh_memory(hardware: Hardware, readers: Readers = Readers()) -> Hardware:
    """The same machine with its memory read again; well under a millisecond."""
    limits = _attempt("cgroup", lambda: cgroup_limits(readers.root), CgroupLimits())
    return replace(hardware, memory=_memory(readers, limits))


def _memory(readers: Readers, limits: CgroupLimits) -> Memory:
    total, available = _attempt("memory", readers.memory, UNREAD_MEMORY)
    return bounded_memory(total, available, limits)


def _attempt(what: str, read: Callable[[], T], otherwise: T) -> T:
    """``read()``, or ``otherwise`` if it fails in any way: drivers, sandboxes and odd kernels fail in every way."""
    try:
        return read()
    except Exception as error:
        log.warning("hardware.unreadable what=%s error=%r", what, error)
        return otherwise
