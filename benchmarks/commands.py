"""What a command costs without a daemon, against an interpreter that does nothing; and a choice among 1,000 models.

python -m benchmarks.commands [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from registry.model import Device, ExecutionProvider, Model, Precision, Source, Task
from selector.hardware.detect import detect_hardware
from selector.select import select
from selector.selection import SelectionRequest


def median_s(work: Callable[[], object], rounds: int) -> float:
    """Median seconds of ``work``; the first call only warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds)


def a_model(number: int) -> Model:
    billions = 1 + number % 14
    return Model(
        name=f"model-{number}",
        version="1",
        alias=f"model-{number}",
        path=Path(f"/models/{number}"),
        source=Source.FOLDER,
        tasks=(Task.CHAT, Task.CODE),
        parameters=billions * 10**9,
        precision=Precision.INT4,
        execution_provider=ExecutionProvider.CPU,
        device=Device.CPU,
        weight_bytes=billions * 10**9 // 2,
        context_tokens=32_768,
        kv_bytes_per_token=24_576,
        vocab_size=151_936,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as home:
        environment = {**os.environ, "SLMREG_HOME": home, "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}

        def run(*arguments: str) -> float:
            command = [sys.executable, *arguments]
            return median_s(lambda: subprocess.run(command, env=environment, check=True, capture_output=True), rounds)

        bare_s, list_s = run("-c", "pass"), run("-m", "daemon.cli", "list")
    print(f"slmreg list without a daemon: {list_s:.2f} s; an interpreter that does nothing: {bare_s:.2f} s")
    models, hardware = [a_model(number) for number in range(1000)], detect_hardware()
    select_s = median_s(lambda: select(SelectionRequest(Task.CHAT), models, hardware), rounds)
    print(f"select among 1,000 models: {select_s * 1000:.1f} ms")


if __name__ == "__main__":
    main()
