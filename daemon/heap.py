"""The memory of a process that lives for weeks and has many threads of which few work."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
# Whole files of up to 4 MiB are read. What is mapped by itself goes back to the system as soon as it is free.
MAPPED_BYTES = 128 * 1024
# An arena for each thread, as glibc has it, keeps what that thread has freed. They would spare threads the wait for
# each other, but Python's threads wait for the interpreter.
ARENAS = 1


def keep_heap_small() -> bool:
    """Give memory that is free back to the system. To be called before there are threads; False where it cannot be."""
    if not _is_glibc():
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(*each) == 1 for each in ((_M_ARENA_MAX, ARENAS), (_M_MMAP_THRESHOLD, MAPPED_BYTES)))


def leave_out_pydantic_v1() -> None:
    """FastAPI asks of each class in a route whether it is a model of pydantic 1, and imports that whole for it: 1.1 MB.

    Where it cannot be imported, which a None says, there are no such models. To be called before there are routes.
    """
    sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]


def import_fastapi() -> None:
    """FastAPI, whose own models get what checks and writes them when that is first asked for: 1.5 MB less, and 0.1 s.

    They describe an OpenAPI document, and ours is written without them. Those of routes are made afterwards, and are
    not put off: the first request would wait for that.
    """
    from pydantic import BaseModel

    BaseModel.model_config["defer_build"] = True  # what is made meanwhile inherits it
    try:
        import fastapi  # noqa: F401
    finally:
        del BaseModel.model_config["defer_build"]


def _is_glibc() -> bool:
    if sys.platform == "win32":
        return False
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # macOS; musl
        return False
