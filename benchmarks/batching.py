"""What batches are worth: tokens per second of both backends, without a server, for several rows at once.

    python -m benchmarks.batching FOLDER [--threads N] [--seconds S] [--rows 1 4 8]

The backends take turns within each line, so that a machine that grows slower or faster does so for both. Rows begin
with prompts of 64 tokens. The last line is the reading of a prompt of 512 tokens in pieces of 128.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime_genai as og

from daemon.worker.backends.base import Backend
from daemon.worker.backends.batched.capability import batched_decoder
from daemon.worker.backends.batched.opening import Wanted, open_batched
from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.folder import read_config
from registry.errors import GenerationFailed
from registry.model import ExecutionProvider

_PROMPT_TOKENS = 64
_LONG_PROMPT_TOKENS = 512
_PIECE_TOKENS = 128
_ROOM_TOKENS = 1024
_VOCABULARY = 256
_ROUNDS = 3


def opened(folder: Path, threads: int, most_rows: int) -> Mapping[str, Backend]:
    """Both backends on one folder, with threads that do not spin: each has its own, and they must not fight."""
    config = read_config(folder)
    settings = engine_config(folder, config, ExecutionProvider.CPU, threads, is_spinning=False)
    decoder = batched_decoder(folder, config, ExecutionProvider.CPU, has_adapters=False)
    wanted = Wanted(
        slots=most_rows,
        context_tokens=_ROOM_TOKENS,
        threads=threads,
        is_spinning=False,
        session_options={},
        library=None,
    )
    return {
        "batched": open_batched(decoder, wanted, reference=None),
        "generator": GeneratorBackend(og.Model(settings)),
    }


def decode_speed(backend: Backend, rows: int, seconds: float) -> float:
    """Tokens per second of all rows together."""
    opened_rows = [backend.open(_ROOM_TOKENS) for _ in range(rows)]
    tokens = [int(np.argmax(backend.extend(row, _prompt(row, _PROMPT_TOKENS)))) for row in opened_rows]
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds and count < _ROOM_TOKENS - _PROMPT_TOKENS:
        results = backend.decode(list(zip(opened_rows, tokens, strict=True)))
        tokens = [_next(result) for result in results]
        count += 1
    for row in opened_rows:
        backend.close(row)
    return count * rows / passed


def prefill_speed(backend: Backend) -> float:
    """Tokens per second."""
    row = backend.open(_ROOM_TOKENS)
    prompt = _prompt(0, _LONG_PROMPT_TOKENS)
    started = time.perf_counter()
    for start in range(0, len(prompt), _PIECE_TOKENS):
        backend.extend(row, prompt[start : start + _PIECE_TOKENS])
    passed = time.perf_counter() - started
    backend.close(row)
    return len(prompt) / passed


def medians(backends: Mapping[str, Backend], measure: Callable[[Backend], float]) -> dict[str, float]:
    """Of some rounds, in each of which every backend has its turn."""
    figures: dict[str, list[float]] = {name: [] for name in backends}
    for _ in range(_ROUNDS):
        for name, backend in backends.items():
            figures[name].append(measure(backend))
    return {name: float(np.median(values)) for name, values in figures.items()}


def _prompt(seed: int, count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, _VOCABULARY, count)]


def _next(result: object) -> int:
    if isinstance(result, GenerationFailed):
        raise result
    return int(np.argmax(np.asarray(result)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 8])
    given = parser.parse_args(arguments)
    backends = opened(given.folder, given.threads, max(given.rows))
    print(f"{'':<10}" + "".join(f"{name:>12}" for name in backends))
    for rows in given.rows:
        speeds = medians(backends, lambda backend, rows=rows: decode_speed(backend, rows, given.seconds))  # type: ignore[misc]
        print(f"{rows:>3} rows  " + "".join(f"{speed:>12.1f}" for speed in speeds.values()))
    speeds = medians(backends, prefill_speed)
    print(f"{'prefill':<10}" + "".join(f"{speed:>12.1f}" for speed in speeds.values()))


if __name__ == "__main__":
    main()
