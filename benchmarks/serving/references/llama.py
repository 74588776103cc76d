"""llama.cpp's server with a model of the same shape, where ``llama-server`` is on the PATH."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.serving.references.environment import GGUF, python_with
from benchmarks.serving.served import Stream, chat, parsed, received
from scripts.model_factory import PRESETS

PROGRAM = "llama-server"
START_TIMEOUT_S = 120.0
CONTEXT_TOKENS = 2048


def write_gguf(folder: Path, preset: str, file: Path, environments: Path) -> None:
    """A file with Q4_0 weights, of the shape of ``preset``, with which ``folder`` was written."""
    python = python_with(GGUF, environments / "gguf")
    shape = json.dumps(dataclasses.asdict(PRESETS[preset].spec))
    script = Path(__file__).with_name("gguf_model.py")
    subprocess.run([python, script, folder, file, shape], check=True)


class Llama:
    """A running server at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def at_once(self, prompts: list[str], tokens: int) -> list[Stream]:
        """All prompts answered at the same time, with ``tokens`` each."""

        def ask(prompt: str) -> Stream:
            body = chat("bench", [{"role": "user", "content": prompt}], tokens) | {"ignore_eos": True}
            return parsed(*received(self._url, body))

        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(ask, prompts))


@contextlib.contextmanager
def llama_server(file: Path, threads: int, streams: int, log: Path) -> Iterator[Llama]:
    """The server for ``streams`` at once, until the context ends. Raises SystemExit if it does not start."""
    port = _free_port()
    options = [
        "-m",
        file,
        "-t",
        threads,
        "-tb",
        threads,
        "-np",
        streams,
        "-c",
        streams * CONTEXT_TOKENS,
        "--port",
        port,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen([_program(), *map(str, options)], stdout=output, stderr=output)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
        yield Llama(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def is_here() -> bool:
    return shutil.which(PROGRAM) is not None


def _program() -> str:
    return shutil.which(PROGRAM) or PROGRAM


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends_s = time.perf_counter() + START_TIMEOUT_S
    while time.perf_counter() < ends_s and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        time.sleep(0.1)
    raise SystemExit(f"{PROGRAM} did not start:\n{log.read_text(errors='replace')[-500:]}")
