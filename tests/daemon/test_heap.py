from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Threads that are all there at once, each with memory of its own that it frees; how many heaps that made, and what the
# allocator still holds of it.
THREADS = 6
CODE = f"""
import ctypes, sys, tempfile, threading
from daemon.heap import keep_heap_small
took = keep_heap_small() if sys.argv[1] == "small" else None
together = threading.Barrier({THREADS})
def work():
    together.wait()
    del [bytearray(b"x" * 2_000_000) for _ in range(3)][:]
    together.wait()
threads = [threading.Thread(target=work) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(took, file.read().count(b"<heap nr="))
"""


def _is_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}) and sys.platform == "linux"


def _printed(code: str, *arguments: str) -> list[str]:
    """The lines that a process of its own prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _heaps(how: str) -> tuple[str, int]:
    took, heaps = _printed(CODE, how)[0].split()
    return took, int(heaps)


@pytest.mark.skipif(not _is_glibc(), reason="needs glibc")
def test_threads_share_one_heap_where_each_would_have_its_own() -> None:
    assert _heaps("as it is")[1] > 1
    assert _heaps("small") == ("True", 1)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from daemon.heap import keep_heap_small

    monkeypatch.setattr("os.confstr", lambda _name: None, raising=False)
    assert not keep_heap_small()


def test_fastapi_does_without_pydantic_1() -> None:
    code = (
        "import sys\n"
        "from daemon.heap import leave_out_pydantic_v1\n"
        "if sys.argv[1:]: leave_out_pydantic_v1()\n"
        "from fastapi import FastAPI\n"
        "from pydantic import BaseModel\n"
        "class Body(BaseModel): text: str\n"
        "app = FastAPI()\n"
        "@app.post('/')\n"
        "def handle(body: Body) -> Body: return body\n"
        "print(len(app.openapi()['paths']), 'pydantic.v1.main' in sys.modules)\n"
    )

    assert _printed(code, "without") == ["1 False"]
    assert _printed(code) == ["1 True"]  # else there is nothing left to leave out


def test_fastapis_own_models_are_built_when_they_are_first_asked_for_and_those_of_routes_at_once() -> None:
    code = (
        "import sys\n"
        "from daemon.heap import import_fastapi\n"
        "if sys.argv[1:]: import_fastapi()\n"
        "from fastapi.openapi.models import OpenAPI\n"
        "from daemon.api.chat import ChatRequest\n"
        "print(OpenAPI.__pydantic_complete__, ChatRequest.__pydantic_complete__)\n"
        "print(OpenAPI.model_validate({'openapi': '3.1.0', 'info': {'title': 'T', 'version': '1'}}).info.title)\n"
    )

    assert _printed(code, "late") == ["False True", "T"]
    assert _printed(code) == ["True True", "T"]  # else there is nothing left to put off
