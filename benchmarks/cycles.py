"""Load and unload one model again and again, as the pool does it: does everything come back each time?

    python -m benchmarks.cycles [--cycles 500] [--preset tiny] [--tokens 4] [--folder MODEL]

Each cycle takes a worker from the launcher, loads, answers, and stops it: politely, at once, or by a kill from outside,
in turn. Half-way between two cycles nothing may be left but the spare. What is read then is what this process, which
stands for the daemon, holds, its open files, and the machine's available memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.pool.failures import FailureKind
from daemon.pool.launch import ProcessLauncher, WorkerProcess
from daemon.pool.protocol import Finished, Generate, Load
from scripts.model_factory import write_preset
from selector.hardware.memory import host_memory
from selector.hardware.processes import resident_bytes

CYCLES_TO_SETTLE = 20
SPARE_DELAY_S = 0.0  # cycles follow each other closely, and each is to find a spare
SPARE_START_S = 0.4
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Cycle:
    """``load_s`` from asking for a worker until its model is loaded. Bytes and files after the worker was gone."""

    load_s: float
    stop_s: float
    worker_bytes: int
    own_bytes: int
    available_bytes: int
    open_files: int


async def run(folder: Path, *, cycles: int, tokens: int, keeps_spare: bool) -> list[Cycle]:
    """``cycles`` lives of a worker, one after the other."""
    launcher = ProcessLauncher(keeps_spare=keeps_spare, spare_delay_s=SPARE_DELAY_S)
    load = Load(path=str(folder), execution_provider="cpu", threads=1, context_tokens=512, max_concurrent=1)
    readings = []
    try:
        await launcher.warm()
        for number in range(cycles):
            readings.append(await _cycle(launcher, load, number, tokens))
    finally:
        await launcher.close()
    return readings


async def _cycle(launcher: ProcessLauncher, load: Load, number: int, tokens: int) -> Cycle:
    started_s = time.perf_counter()
    worker = await launcher.start()
    await worker.load(load)
    load_s = time.perf_counter() - started_s
    await _answer(worker, tokens)
    worker_bytes = resident_bytes(worker.pid)
    stopped_s = time.perf_counter()
    await _end(worker, number)
    stop_s = time.perf_counter() - stopped_s
    await asyncio.sleep(SPARE_START_S)
    return Cycle(
        load_s=load_s,
        stop_s=stop_s,
        worker_bytes=worker_bytes,
        own_bytes=resident_bytes(os.getpid()),
        available_bytes=host_memory()[1],
        open_files=_open_files(),
    )


def _open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def _answer(worker: WorkerProcess, tokens: int) -> None:
    question = Generate(request_id="1", messages=[{"role": "user", "content": "Hello"}], max_tokens=tokens)
    last = [event async for event in worker.generate(question)][-1]
    if not isinstance(last, Finished):
        raise SystemExit(f"the worker failed: {last}")


async def _end(worker: WorkerProcess, number: int) -> None:
    """In one of three ways. Raises SystemExit if the process is still there."""
    if number % 3 == 2:
        os.kill(worker.pid, signal.SIGKILL)
        if (await worker.wait()).kind is not FailureKind.OTHER:
            raise SystemExit("a process that was killed at rest was taken for something else")
    await worker.stop(at_once=number % 3 == 1)
    if not worker.has_exited:
        raise SystemExit(f"process {worker.pid} is still there")


def report(name: str, cycles: Sequence[Cycle]) -> None:
    """The medians, and the last tenth of the cycles against the first after things have settled."""
    settled = cycles[CYCLES_TO_SETTLE:] or cycles
    tenth = max(1, len(settled) // 10)
    first, last = settled[:tenth], settled[-tenth:]

    def change(of: str) -> str:
        before, after = (statistics.median(getattr(cycle, of) for cycle in part) for part in (first, last))
        return f"{before / MEGABYTE:.1f} -> {after / MEGABYTE:.1f} MiB ({after / before - 1:+.1%})"

    print(f"{name}: {len(cycles)} cycles")
    print(f"load {_median_ms(cycles, 'load_s'):.0f} ms, stop {_median_ms(cycles, 'stop_s'):.0f} ms (medians)")
    print(f"resident memory of a loaded worker: {change('worker_bytes')}")
    print(f"resident memory of this process: {change('own_bytes')}")
    print(f"available memory of the machine: {change('available_bytes')}")
    print(f"open files: {first[0].open_files} -> {last[-1].open_files}")


def _median_ms(cycles: Sequence[Cycle], of: str) -> float:
    return 1000 * float(statistics.median(getattr(cycle, of) for cycle in cycles))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="a model folder instead of a preset")
    parser.add_argument("--no-spare", action="store_true", help="start an interpreter for each load")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as scratch:
        folder = options.folder or write_preset(options.preset, Path(scratch) / "model")
        cycles = asyncio.run(
            run(folder, cycles=options.cycles, tokens=options.tokens, keeps_spare=not options.no_spare)
        )
    report(folder.name if options.folder else options.preset, cycles)


if __name__ == "__main__":
    main()
