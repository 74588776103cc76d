"""``python -m selector.hardware.probe THREADS BYTES``: measures memory bandwidth and arithmetic, prints them as JSON.

A process of its own, because the threads it starts and the hundreds of megabytes it touches have no business in a
daemon. Takes about half a second. Anything else that runs meanwhile can only make the numbers smaller, so the best of
several rounds is the answer.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

ROUNDS = 3
ROUND_S = 0.06
# 512 x 512 float32: 0.27 GFLOP, a few milliseconds; as fast as larger ones, and many fit into a round.
SIZE = 512
# numpy without a fast library multiplies at 1 GFLOP/s or less: that says nothing of ONNX Runtime's kernels.
LEAST_FLOPS_PER_THREAD = 2e9
# A thread that does not come to the barrier (a machine in swap) must not keep the others for ever.
BARRIER_TIMEOUT_S = 10.0

# One step of work, and how much of it that is (bytes, operations).
Work = tuple[Callable[[], object], float]


def bandwidth(threads: int, bytes_per_thread: int) -> float:
    """Bytes/s that all ``threads`` read together: the largest number of each one's own buffer, again and again.

    Integers, because their maximum needs no care for NaN and keeps up with the memory (a sum does not).
    """

    def prepare() -> Work:
        buffer = np.ones(max(1, bytes_per_thread // 4), dtype=np.int32)
        return buffer.max, buffer.nbytes

    return best_rate(threads, prepare)


def flops(threads: int) -> float | None:
    """FLOP/s of float32 matrix products, one in each thread at a time; None if numpy has no fast library.

    Not one product shared by all threads: a library waits for the slowest of them, and beside other busy programs two
    threads so did less than one alone (measured).
    """

    def prepare() -> Work:
        matrix, result = np.ones((SIZE, SIZE), dtype=np.float32), np.empty((SIZE, SIZE), dtype=np.float32)
        return lambda: np.matmul(matrix, matrix, out=result), 2.0 * SIZE**3

    rate = best_rate(threads, prepare)
    return rate if rate >= threads * LEAST_FLOPS_PER_THREAD else None


def best_rate(threads: int, prepare: Callable[[], Work], clock: Callable[[], float] = time.perf_counter) -> float:
    """Work per second of all ``threads`` together, in the best of ROUNDS rounds of ROUND_S that they begin together.

    Each thread prepares its own: memory belongs to the NUMA node of the thread that touches it first.
    """
    barrier = threading.Barrier(threads)
    rates = np.zeros((ROUNDS, threads))

    def work(thread: int) -> None:
        step, amount = prepare()
        step()
        for round_number in range(ROUNDS):
            barrier.wait(BARRIER_TIMEOUT_S)
            begun, steps = clock(), 0
            while (passed := clock() - begun) < ROUND_S:
                step()
                steps += 1
            rates[round_number, thread] = steps * amount / passed

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return float(rates.sum(axis=1).max())


def main(arguments: Sequence[str]) -> None:
    threads, bytes_per_thread = (int(argument) for argument in arguments)
    measured = {"bandwidth_bytes_per_s": bandwidth(threads, bytes_per_thread), "flops": flops(threads)}
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
