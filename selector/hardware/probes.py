"""How fast this machine really is: measured once by a short child process, and kept.

Invariant: numbers count for the CPU and the number of threads they were measured with, and for no other.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from selector.hardware.cache import HardwareCache
from selector.hardware.queries import NO_WINDOW
from selector.hardware.values import Cpu, Probes

log = logging.getLogger("slmreg.hardware")

# Threads and bytes for each in, what the child printed out; None if it failed.
Measure = Callable[[int, int], str | None]

TIMEOUT_S = 30.0
# Several times what a core has of the largest caches (with 64 MiB they still helped visibly), and no more than 1 GiB.
BYTES_PER_THREAD = 128 * 1024 * 1024
MOST_BYTES = 1024**3
LEAST_BYTES_PER_THREAD = 4 * 1024 * 1024
# A measurement must not push anything out of memory.
SHARE_OF_AVAILABLE = 1 / 8
# As long as the machine stays the same one.
MAX_AGE_S = 3650 * 86_400.0
# Best of this many runs at different times, because something else may run during all of the first.
RUNS = 3

# Fastest machines of today: HBM at a few TB/s; anything beyond is a clock that jumped.
MOST_BANDWIDTH = 10e12
# FLOP/s of one core by its own vector units: 64 each cycle with AVX-512, 32 with AVX2 and with the four pipes of Arm's
# best, at 5 to 6 GHz. On Apple's chips numpy reaches beyond that by a coprocessor that ONNX Runtime does not use.
MOST_AVX512_FLOPS_PER_CORE = 350e9
MOST_FLOPS_PER_CORE = 180e9


def known_probes(cache: HardwareCache, cpu: Cpu) -> Probes:
    """What was measured for ``cpu``; two Nones if nothing was."""
    return _probes(cache.find(_name(cpu), max_age_s=MAX_AGE_S), cpu)


def is_settled(cache: HardwareCache, cpu: Cpu) -> bool:
    """Whether ``cpu`` was measured often enough that once more is not worth half a second."""
    return _runs(cache, cpu) >= RUNS


def probe(cache: HardwareCache, cpu: Cpu, available_bytes: int, measure: Measure | None = None) -> Probes:
    """Measure, and keep the better of this and what was known: other programs only ever make a machine look slower.

    Blocks for half a second. Without a result (no memory to spare, no numpy): what was known.
    """
    known = known_probes(cache, cpu)
    threads = cpu.usable_cores
    size = min(BYTES_PER_THREAD, MOST_BYTES // threads, int(available_bytes * SHARE_OF_AVAILABLE) // threads)
    if size < LEAST_BYTES_PER_THREAD:
        return known
    printed = (measure or run_probe)(threads, size)
    try:
        fresh = _probes(json.loads(printed or "null"), cpu)
    except (ValueError, RecursionError):
        fresh = Probes()
    best = Probes(
        _larger(fresh.bandwidth_bytes_per_s, known.bandwidth_bytes_per_s),
        _larger(fresh.flops, known.flops),
    )
    if fresh != Probes():
        cache.keep(_name(cpu), {**asdict(best), "runs": _runs(cache, cpu) + 1})
    return best


def run_probe(threads: int, bytes_per_thread: int) -> str | None:
    """``selector.hardware.probe`` in a process of its own, where each thread does its own matrix products."""
    libraries = ("OPENBLAS_NUM", "OMP_NUM", "MKL_NUM", "BLIS_NUM", "VECLIB_MAXIMUM")
    environment = {**os.environ, **{f"{library}_THREADS": "1" for library in libraries}}
    command = (sys.executable, "-P", "-m", "selector.hardware.probe", str(threads), str(bytes_per_thread))
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            env=environment,
            creationflags=NO_WINDOW,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("hardware.not_probed error=%r", str(error))
        return None
    return answer.stdout


def _name(cpu: Cpu) -> str:
    return f"probes of {cpu.name} with {cpu.usable_cores} threads"


def _runs(cache: HardwareCache, cpu: Cpu) -> int:
    kept = cache.find(_name(cpu), max_age_s=MAX_AGE_S)
    runs = kept.get("runs") if isinstance(kept, dict) else None
    return runs if isinstance(runs, int) else 0


def _probes(value: Any, cpu: Cpu) -> Probes:
    """Out of what a child printed or a file kept: only numbers that can be true."""
    if not isinstance(value, dict):
        return Probes()
    per_core = MOST_AVX512_FLOPS_PER_CORE if "avx512f" in cpu.kernels else MOST_FLOPS_PER_CORE
    bandwidth, flops = _positive(value.get("bandwidth_bytes_per_s")), _positive(value.get("flops"))
    return Probes(
        bandwidth_bytes_per_s=bandwidth if bandwidth is not None and bandwidth <= MOST_BANDWIDTH else None,
        flops=None if flops is None else min(flops, per_core * cpu.usable_cores),
    )


def _positive(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def _larger(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)
