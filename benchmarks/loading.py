"""Where the time goes that onnxruntime takes to load a decoder for batches.

    python -m benchmarks.loading FOLDER [--threads N] [--rounds 5]

The lines take turns. What lies between two of them is what optimising the graph takes, or packing the weights for the
kernels. A cache of optimised graphs could spare what lies between the first two, and the packed weights would be a copy
of all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import onnxruntime

from daemon.worker.backends.batched.capability import batched_decoder
from daemon.worker.backends.batched.session import open_session
from daemon.worker.folder import read_config
from registry.model import ExecutionProvider

_NOT_OPTIMISED = {"graph_optimization_level": "ORT_DISABLE_ALL"}


def builds(folder: Path, threads: int) -> Mapping[str, Callable[[], object]]:
    """What makes a session, by what is left out."""
    decoder = batched_decoder(folder, read_config(folder), ExecutionProvider.CPU, has_adapters=False)
    ours = partial(open_session, decoder, threads=threads, is_spinning=False, library=None)
    plain = partial(_plain, decoder.graph, threads)
    return {
        "as it is loaded": partial(ours, {}),
        "not optimised": partial(ours, _NOT_OPTIMISED),
        "as exported": plain,
        "as exported, not optimised": partial(plain, is_optimised=False),
        "neither optimised nor packed": partial(plain, is_optimised=False, is_packed=False),
    }


def _plain(graph: Path, threads: int, *, is_optimised: bool = True, is_packed: bool = True) -> object:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", str(int(not is_packed)))
    if not is_optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def medians_s(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Of each, after a first one that reads the files from the disk."""
    next(iter(cases.values()))()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, build in cases.items():
            started_s = time.perf_counter()
            build()
            seconds[name].append(time.perf_counter() - started_s)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    for name, median_s in medians_s(builds(given.folder, given.threads), given.rounds).items():
        print(f"{name:<30} {1000 * median_s:8.1f} ms")


if __name__ == "__main__":
    main()
