"""Which cores this process runs on. The daemon divides them among the models that are busy.

Measured with two models that answer at once on 2 cores, 2 threads each without spinning, as tokens/s together: each on
a core of its own 92, or 81 where its threads interrupt each other; both on both cores 73; one alone 65. Two that have
one thread each come to 95.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

_TASKS = Path("/proc/self/task")


class Cores:
    """The cores that this process may use, and the ones of them that it uses.

    Linux and Windows; macOS has nothing of the kind, and there every call does nothing.
    """

    def __init__(self) -> None:
        self._allowed = _allowed()

    def use(self, cores: Iterable[int]) -> None:
        """Run on these from now on, all threads, and those that are still to come; on all where none is allowed."""
        chosen = self._allowed.intersection(cores) or self._allowed
        if chosen:
            _pin(chosen, is_share=chosen != self._allowed)


if sys.platform == "linux":

    def _allowed() -> frozenset[int]:
        return frozenset(os.sched_getaffinity(0))

    def _pin(cores: frozenset[int], *, is_share: bool) -> None:
        """The call is for one thread, and a new thread begins where its maker is: go on until none is new.

        On a share of the cores there are more threads than those can run. The caller's own, which has most of the work
        in hand, is then not to be interrupted by the others: they come when it waits.
        """
        own, policy = threading.get_native_id(), os.SCHED_BATCH if is_share else os.SCHED_OTHER
        pinned: set[int] = set()
        while new := {int(task.name) for task in _TASKS.iterdir()} - pinned:
            for thread in new:
                with contextlib.suppress(OSError):  # it has ended, or the system has taken the cores away
                    os.sched_setaffinity(thread, cores)
                    os.sched_setscheduler(thread, os.SCHED_OTHER if thread == own else policy, os.sched_param(0))
            pinned |= new

elif sys.platform == "win32":
    import ctypes

    _kernel32 = ctypes.WinDLL("kernel32")
    _kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    _MASK_BITS = 8 * ctypes.sizeof(ctypes.c_size_t)  # of one processor group, which is what a mask can name

    def _allowed() -> frozenset[int]:
        process, system = ctypes.c_size_t(), ctypes.c_size_t()
        this = ctypes.c_void_p(_kernel32.GetCurrentProcess())
        _kernel32.GetProcessAffinityMask(this, ctypes.byref(process), ctypes.byref(system))
        return frozenset(core for core in range(_MASK_BITS) if process.value >> core & 1)

    def _pin(cores: frozenset[int], *, is_share: bool) -> None:
        mask = ctypes.c_size_t(sum(1 << core for core in cores))
        _kernel32.SetProcessAffinityMask(ctypes.c_void_p(_kernel32.GetCurrentProcess()), mask)

else:

    def _allowed() -> frozenset[int]:
        return frozenset()

    def _pin(cores: frozenset[int], *, is_share: bool) -> None:
        """Nothing that could be done."""
