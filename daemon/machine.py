"""The machine this process runs on: its hardware, read once, with what changes read afresh.

Invariant: neither onnxruntime nor onnxruntime-genai is imported here: their execution providers are asked for in a
short child process, so that the daemon stays small and a broken provider cannot take it down.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.model import Device, ExecutionProvider
from selector.hardware import Cpu, Disk, Hardware, ProviderDevice
from selector.hardware.cache import HardwareCache
from selector.hardware.detect import Detector, Installation, Readers
from selector.hardware.probes import Measure, is_settled, probe
from selector.hardware.queries import NO_WINDOW

log = logging.getLogger("slmreg.machine")

PROVIDERS_COMMAND = (sys.executable, "-P", "-m", "daemon.worker.providers")
PROVIDERS_TIMEOUT_S = 60.0
# How old the free memory of a graphics card may be. It takes up to 0.3 s to ask for, seconds if the driver sleeps.
DEVICES_AGE_S = 10.0


class Machine:
    """Reads the hardware on first use; safe to use from several threads."""

    def __init__(
        self,
        cache_file: Path,
        *,
        readers: Readers | None = None,
        ask_installation: Callable[[], Installation] | None = None,
        measure: Measure | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``cache_file`` keeps what is slow to find out; the others are for tests."""
        self._cache = HardwareCache(cache_file)
        self._detector = Detector(self._cache, readers or Readers())
        self._ask_installation = ask_installation or installation
        self._measure = measure
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Hardware | None = None
        self._stamp: tuple[int, int] | None = None
        self._devices_read_s = 0.0
        self._is_reading_devices = False

    def hardware(self) -> Hardware:
        """The machine now. After the first look, which takes up to seconds, only memory is read (under a millisecond).

        What is known of accelerators is renewed behind the caller's back, for the next look.
        """
        return self._detector.refresh_memory(self.without_memory())

    def without_memory(self) -> Hardware:
        """``hardware`` for those who do not look at its memory, which may be old: that is what takes time to read."""
        with self._lock:
            if self._known is None:
                self._stamp = self._cache.stamp()
                self._known = self._detector.detect(self._ask_installation())
                self._devices_read_s = self._clock()
            elif (stamp := self._cache.stamp()) != self._stamp:  # another process may have measured
                self._stamp = stamp
                self._known = self._detector.refresh_probes(self._known)
            self._renew_devices(self._known)
            return self._known

    def probe(self, *, again: bool = False) -> Hardware:
        """The machine with its speed measured once more, unless that was done often enough; ``again``: even then.

        Blocks for half a second.
        """
        hardware = self.hardware()
        if not again and is_settled(self._cache, hardware.cpu):
            return hardware
        probes = probe(self._cache, hardware.cpu, hardware.memory.available_bytes, self._measure)
        with self._lock:
            if self._known is not None:
                self._known = replace(self._known, probes=probes)
        return replace(hardware, probes=probes)

    def disks(self, paths: Iterable[Path]) -> tuple[Disk, ...]:
        """What each of ``paths`` lies on, in their order."""
        return self._detector.disks(paths)

    def _renew_devices(self, known: Hardware) -> None:
        """Under the lock. Nothing to do where neither a card's free memory nor a battery can change."""
        changes = known.power.battery_percent is not None or any(
            accelerator.memory_available_bytes is not None for accelerator in known.accelerators
        )
        is_old = self._clock() - self._devices_read_s > DEVICES_AGE_S
        if changes and is_old and not self._is_reading_devices:
            self._is_reading_devices = True
            threading.Thread(target=self._read_devices, args=(known,), name="hardware", daemon=True).start()

    def _read_devices(self, known: Hardware) -> None:
        fresh = self._detector.refresh_devices(known)
        with self._lock:
            if self._known is not None:
                self._known = replace(self._known, accelerators=fresh.accelerators, power=fresh.power)
            self._devices_read_s = self._clock()
            self._is_reading_devices = False


def measure(cache_file: Path, described: Mapping[str, Any]) -> None:
    """Measure for a ``Machine`` of another process, which finds it in ``cache_file`` at its next look.

    ``described`` is its hardware as JSON: what is measured counts for that CPU and that number of threads.
    """
    cpu = described["cpu"]
    probe(
        HardwareCache(cache_file),
        Cpu(
            cpu["name"],
            cpu["physical_cores"],
            cpu["logical_cores"],
            cpu["usable_cores"],
            kernels=tuple(cpu["kernels"]),
        ),
        described["memory"]["available_bytes"],
    )


def installation() -> Installation:
    """What the installed onnxruntime can run on. CPU alone if it cannot be asked; the log says why."""
    try:
        answer = subprocess.run(
            PROVIDERS_COMMAND,
            capture_output=True,
            check=True,
            timeout=PROVIDERS_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            creationflags=NO_WINDOW,
        )
        return _parse(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        log.warning("machine.providers_unknown error=%r", str(error))
        return Installation()


def _parse(printed: bytes) -> Installation:
    """What ``daemon.worker.providers`` prints. Raises ValueError, KeyError or TypeError for anything else."""
    answer = json.loads(printed)
    providers = tuple(ExecutionProvider(name) for name in answer["execution_providers"])
    devices = tuple(
        ProviderDevice(ExecutionProvider(device["execution_provider"]), Device(device["device"]), str(device["vendor"]))
        for device in answer["devices"]
    )
    return Installation(providers or (ExecutionProvider.CPU,), devices)
