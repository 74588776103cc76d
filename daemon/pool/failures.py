"""Why a worker failed, as far as it matters what happens next. The one place that tells a lack of memory from the rest.

Invariant: what the daemon did to a process itself (stopping it, ending one that talks nonsense) is never a lack of
memory.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from daemon.pool.protocol import Failed, LoadFailed
from registry.errors import GenerationFailed


class FailureKind(StrEnum):
    """The classes of failures that people are shown.

    The first five are what a worker says of a load (``daemon.worker.errors.LoadCode``). ``CRASHED``: native code broke.
    ``KILLED``: by the system for lack of memory, or by a person; how much memory there is now tells which. ``HUNG``: it
    said nothing for too long. ``TIMED_OUT``: its load took too long, which the pool measures.
    """

    OUT_OF_MEMORY = "out_of_memory"
    UNSUPPORTED = "unsupported"
    MISSING_FILE = "missing_file"
    INVALID_FILE = "invalid_file"
    PROVIDER_MISSING = "provider_missing"
    CRASHED = "crashed"
    KILLED = "killed"
    HUNG = "hung"
    TIMED_OUT = "timed_out"
    OTHER = "other"


_KINDS_OF_LOAD = {
    kind.value: kind
    for kind in (
        FailureKind.OUT_OF_MEMORY,
        FailureKind.UNSUPPORTED,
        FailureKind.MISSING_FILE,
        FailureKind.INVALID_FILE,
        FailureKind.PROVIDER_MISSING,
    )
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended, in words that follow "the process", and what that was."""

    words: str
    kind: FailureKind = FailureKind.OTHER


class WorkerFailure(Exception):
    """A worker could not load its model. The pool makes a LoadFailed of it for those who wait."""

    def __init__(self, message: str, kind: FailureKind = FailureKind.OTHER) -> None:
        super().__init__(message)
        self.kind = kind


# std::bad_alloc, MSVC's "bad allocation", ONNX Runtime's arenas ("Failed to allocate memory for requested buffer"),
# onnxruntime-genai's "Could not allocate the key-value cache buffer", numpy's "Unable to allocate", CUDA, DirectML,
# OpenBLAS, errno 12, a library that cannot be mapped (where another reason follows a colon, it is that one), and what
# Windows says when a file of weights cannot be mapped for want of commit charge (error 1455).
OUT_OF_MEMORY_WORDS = (
    r"bad.alloc|out of memory|(?:failed|unable) to allocate|(?:could not|cannot) allocate"
    r"|failed to map segment from shared object(?!:)|MemoryError|ALLOC_FAILED|E_OUTOFMEMORY|not enough memory"
    r"|paging file is too small|memory allocation (?:still )?failed"
)
_OUT_OF_MEMORY = re.compile(OUT_OF_MEMORY_WORDS, re.IGNORECASE)
# What Windows has instead of signals (ntstatus.h), as exit codes: a lack of memory, and broken native code.
_MEMORY_EXITS = {0xC0000017: "STATUS_NO_MEMORY", 0xC000012D: "STATUS_COMMITMENT_LIMIT"}
_CRASH_EXITS = {
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC0000094: "STATUS_INTEGER_DIVIDE_BY_ZERO",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000374: "STATUS_HEAP_CORRUPTION",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",  # also what abort() ends with
}
# By name, because Windows does not have them all.
_CRASH_SIGNALS = frozenset({"SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS", "SIGFPE", "SIGTRAP", "SIGSYS"})
_SIGKILL = 9  # what the kernel sends when memory is short; Windows has no name for it


def speaks_of_memory(text: str) -> bool:
    """Whether a library's own words are about memory that could not be had."""
    return _OUT_OF_MEMORY.search(text) is not None


def kind_of_load(failed: LoadFailed) -> FailureKind:
    """The worker has looked at the library's words already, and its message may name any folder."""
    return _KINDS_OF_LOAD.get(failed.code, FailureKind.OTHER)


def kind_of_request(failed: Failed) -> FailureKind:
    """Only the engine's own failures count: other messages may quote a chat template."""
    is_it = failed.code == GenerationFailed.code and speaks_of_memory(failed.message)
    return FailureKind.OUT_OF_MEMORY if is_it else FailureKind.OTHER


def ending_of(code: int, last_words: Iterable[str] = (), *, was_working: bool) -> Ending:
    """How a process ended by itself: ``code`` as asyncio has it, a signal being negative; ``last_words`` its stderr.

    ``was_working``: it was loading or answering. One that only held a model was killed for the need of others, and
    that says nothing about the model; a crash always does.
    """
    has_said_so = code != 0 and any(map(speaks_of_memory, last_words))
    kind = FailureKind.OTHER
    if was_working and (code in _MEMORY_EXITS or has_said_so):
        kind = FailureKind.OUT_OF_MEMORY
    elif was_working and code == -_SIGKILL:
        kind = FailureKind.KILLED
    elif code in _CRASH_EXITS or _signal_name(code) in _CRASH_SIGNALS:
        kind = FailureKind.CRASHED
    return Ending(_in_words(code), kind)


def _in_words(code: int) -> str:
    """ "ended with exit code 3", or the name of the signal that killed it."""
    name = _CRASH_EXITS.get(code) or _MEMORY_EXITS.get(code)
    if name is not None:
        return f"ended with exit code 0x{code:08X} ({name})"
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (often: the system was out of memory)" if code == -_SIGKILL else ""
    return f"was killed by {_signal_name(code)}{hint}"


def _signal_name(code: int) -> str:
    """The signal behind a negative exit code."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
