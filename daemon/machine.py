"""The machine this process runs on: its hardware, read once, with memory read afresh at every look.

Invariant: neither onnxruntime nor onnxruntime-genai is imported here: their execution providers are asked for in a
short child process, so that the daemon stays small and a broken provider cannot take it down.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

from registry.model import ExecutionProvider
from selector.hardware import Hardware
from selector.hardware.detect import detect_hardware, refresh_memory

log = logging.getLogger("slmreg.machine")

PROVIDERS_COMMAND = (sys.executable, "-P", "-m", "daemon.worker.providers")
PROVIDERS_TIMEOUT_S = 60.0


class Machine:
    """Reads the hardware on first use; safe to use from several threads."""

    def __init__(self, cache_file: Path) -> None:
        self._cache_file = cache_file
        self._lock = threading.Lock()
        self._known: Hardware | None = None

    def hardware(self) -> Hardware:
        """The machine now; only memory is read again (under a millisecond)."""
        with self._lock:
            if self._known is None:
                self._known = detect_hardware(execution_providers=execution_providers(), cache_file=self._cache_file)
                return self._known
        return refresh_memory(self._known)


def execution_providers() -> tuple[ExecutionProvider, ...]:
    """What the installed onnxruntime can run on. CPU alone if it cannot be asked; the log says why."""
    try:
        answer = subprocess.run(
            PROVIDERS_COMMAND, capture_output=True, check=True, timeout=PROVIDERS_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
        names = json.loads(answer.stdout)
        return tuple(ExecutionProvider(name) for name in names) or (ExecutionProvider.CPU,)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("machine.providers_unknown error=%r", str(error))
        return (ExecutionProvider.CPU,)
