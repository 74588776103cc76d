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
    """``KILLED``: by the system for lack of memory, or by a person; how much memory there is now tells which."""

    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"
    OTHER = "other"


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
# errno 12, a library that cannot be mapped (where another reason follows a colon, it is that one), and what Windows
# says when a file of weights cannot be mapped for want of commit charge (error 1455).
OUT_OF_MEMORY_WORDS = (
    r"bad.alloc|out of memory|(?:failed|unable) to allocate|(?:could not|cannot) allocate"
    r"|failed to map segment from shared object(?!:)|MemoryError|ALLOC_FAILED|E_OUTOFMEMORY|not enough memory"
    r"|paging file is too small"
)
_OUT_OF_MEMORY = re.compile(OUT_OF_MEMORY_WORDS, re.IGNORECASE)
# Windows: STATUS_NO_MEMORY and STATUS_COMMITMENT_LIMIT (ntstatus.h), as exit codes.
_EXIT_CODES = frozenset({0xC0000017, 0xC000012D})
_SIGKILL = 9  # what the kernel sends when memory is short; Windows has no name for it


def speaks_of_memory(text: str) -> bool:
    """Whether a library's own words are about memory that could not be had."""
    return _OUT_OF_MEMORY.search(text) is not None


def kind_of_load(failed: LoadFailed) -> FailureKind:
    """The worker has looked at the library's words already, and its message may name any folder."""
    return FailureKind.OUT_OF_MEMORY if failed.code == FailureKind.OUT_OF_MEMORY else FailureKind.OTHER


def kind_of_request(failed: Failed) -> FailureKind:
    """Only the engine's own failures count: other messages may quote a chat template."""
    is_it = failed.code == GenerationFailed.code and speaks_of_memory(failed.message)
    return FailureKind.OUT_OF_MEMORY if is_it else FailureKind.OTHER


def ending_of(code: int, last_words: Iterable[str] = (), *, was_working: bool) -> Ending:
    """How a process ended by itself: ``code`` as asyncio has it, a signal being negative; ``last_words`` its stderr.

    ``was_working``: it was loading or answering. One that only held a model was killed for the need of others, and
    that says nothing about the model.
    """
    has_said_so = code != 0 and any(map(speaks_of_memory, last_words))
    kind = FailureKind.OTHER
    if was_working and (code in _EXIT_CODES or has_said_so):
        kind = FailureKind.OUT_OF_MEMORY
    elif was_working and code == -_SIGKILL:
        kind = FailureKind.KILLED
    return Ending(_in_words(code), kind)


def _in_words(code: int) -> str:
    """ "ended with exit code 3", or the name of the signal that killed it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (often: the system was out of memory)" if code == -_SIGKILL else ""
    return f"was killed by {name}{hint}"
