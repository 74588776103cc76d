"""The real worker with a fault built in: what a native library can do to a process, on demand.

Run as a script, it is a worker like any other, except for model folders that have a ``fault.json``:

    {"at": "load" | "token", "after": 3, "what": one of ``FAULTS``}

The fault comes while the model is loaded, or in the step after which ``after`` pieces of answers would have been sent.
``SLMREG_TEST_FAULT=what`` in the environment: at the start, before anything is imported.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from daemon.pool.framing import MAX_FRAME_BYTES, encode
from daemon.pool.protocol import Delta, Load, Pulse, Ready, ToDaemon, ToWorker
from daemon.worker import loading, main

MEGABYTE = 1024 * 1024
FOR_EVER_S = 3600
PRINTED = "printed by native code"
_outputs: list[_Output] = []


class _Output(main.Output):
    def __init__(self) -> None:
        super().__init__()
        _outputs.append(self)

    def write_raw(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) or 0 :]


def _crash() -> None:
    ctypes.string_at(0)


def _exit() -> None:
    os._exit(3)


def _be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    """As native code does that waits for ever: with the lock of the interpreter held."""
    ctypes.PyDLL(None).sleep(FOR_EVER_S)


def _hang_deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _hang()


def _be_slow() -> None:
    time.sleep(0.1)


def _run_out_of_memory() -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit_bytes = pages * resource.getpagesize() + 64 * MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    bytearray(512 * MEGABYTE)


def _garble() -> None:
    _outputs[0].write_raw(b"\0\0\0\x40" + b"not a frame at all, " * 1000)


def _announce_too_much() -> None:
    _outputs[0].write_raw((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def _break_off() -> None:
    _outputs[0].write_raw(encode(Delta("r", "half of it is lost", 1))[:20])
    os._exit(0)


def _close_output() -> None:
    """Go on without being heard."""
    os.closerange(1, 64)
    time.sleep(FOR_EVER_S)


def _flood_errors() -> None:
    for _ in range(8):
        os.write(2, b"x" * MEGABYTE)


def _print() -> None:
    libc = ctypes.CDLL(None)
    libc.printf(f"{PRINTED}\n".encode() * 100)
    libc.fflush(None)
    os.write(1, PRINTED.encode())


def _send_much() -> None:
    _outputs[0].send([Delta("somebody-else", "x" * (20 * MEGABYTE), 1)])


def _leave_child() -> None:
    """End, with a child of its own that holds all pipes open."""
    if os.fork() == 0:
        time.sleep(FOR_EVER_S)
    os._exit(3)


FAULTS: dict[str, Callable[[], None]] = {
    "crash": _crash,
    "abort": os.abort,
    "exit": _exit,
    "killed": _be_killed,
    "hang": _hang,
    "deaf": _hang_deaf,
    "slow": _be_slow,
    "memory": _run_out_of_memory,
    "garbage": _garble,
    "too much": _announce_too_much,
    "half": _break_off,
    "mute": _close_output,
    "flood": _flood_errors,
    "print": _print,
    "much": _send_much,
    "child": _leave_child,
}


class _FaultyEngine:
    """An engine with the fault in one of its steps, or in each from then on if it lives through them."""

    def __init__(self, engine: Any, fault: Callable[[], None], after: int) -> None:
        self._engine = engine
        self._fault = fault
        self._left = after

    @property
    def is_idle(self) -> bool:
        return bool(self._engine.is_idle)

    def pulse(self) -> Pulse:
        pulse: Pulse = self._engine.pulse()
        return pulse

    def handle(self, message: ToWorker) -> list[ToDaemon]:
        answers: list[ToDaemon] = self._engine.handle(message)
        return answers

    def step(self) -> list[ToDaemon]:
        events: list[ToDaemon] = self._engine.step()
        pieces = sum(isinstance(event, Delta) for event in events)
        self._left -= pieces
        if pieces and self._left <= 0:
            self._fault()
        return events


def _load_with_fault(load: Load) -> tuple[Any, Ready]:
    file = Path(load.path) / "fault.json"
    fault = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if fault.get("at") == "load":
        FAULTS[fault["what"]]()
    engine, ready = _load_engine(load)
    if fault.get("at") == "token":
        return _FaultyEngine(engine, FAULTS[fault["what"]], fault["after"]), ready
    return engine, ready


if __name__ == "__main__":
    if "SLMREG_TEST_FAULT" in os.environ:
        FAULTS[os.environ["SLMREG_TEST_FAULT"]]()
    _load_engine = loading.load_engine
    loading.load_engine = _load_with_fault
    main.Output = _Output  # type: ignore[misc]
    os._exit(main.main())
