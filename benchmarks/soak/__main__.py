"""Three models and one that comes and goes, eight clients, and trouble all the time: is everybody answered?

    python -m benchmarks.soak [--minutes 10] [--seed 0] [--clients 8] [--log FILE]

Clients stream or wait, name a model or leave the choice, and some leave in the middle. Meanwhile worker processes are
killed, a model's folder is copied in, replaced and deleted, pins change, models are unloaded, and the memory budget is
too small for all. Exit code 1 if anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.soak.clients import Tally, ask_until
from benchmarks.soak.readings import Readings, left_behind, read_until
from benchmarks.soak.report import Verdict, verdicts
from benchmarks.soak.trouble import VISITOR, Trouble
from daemon.cli.background import STOP_TIMEOUT_S, BackgroundDaemon, background_daemon
from registry.store import Registry
from scripts.model_factory import write_preset

MODELS = {"alpha": "tiny", "beta": "small", "gamma": "tiny"}
# Two of the models fit, three do not.
BUDGET_BYTES = 300_000_000
SETTINGS = {
    "SLMREG_FOUNDRY_CACHES": "",
    "SLMREG_HF_CACHE": "",
    "SLMREG_MEMORY_BUDGET_BYTES": str(BUDGET_BYTES),
    "SLMREG_MAX_CONTEXT_TOKENS": "1024",
    "SLMREG_SETTLE_S": "1",
    "SLMREG_FAILED_RETRY_S": "1",
    "SLMREG_EVICT_TIMEOUT_S": "5",
    "SLMREG_KEEP_ALIVE": "20",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--log", type=Path, help="where to keep the daemon's log")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slmreg-soak-") as scratch:
        outcome = soak(Path(scratch), seconds=60 * options.minutes, seed=options.seed, clients=options.clients)
        print(f"{options.minutes:g} minutes, {options.clients} clients, seed {options.seed}")
        print("\n".join(map(str, outcome)))
        if options.log is not None:
            shutil.copy(Path(scratch) / "daemon.log", options.log)
    return 0 if all(verdict.is_fine for verdict in outcome) else 1


def soak(home: Path, *, seconds: float, seed: int, clients: int) -> list[Verdict]:
    """What came of ``seconds`` of trouble; everything is written under ``home``."""
    _write_models(home)
    environment = {**os.environ, **SETTINGS, "SLMREG_HOME": str(home)}
    tally, readings = Tally(), Readings()
    with background_daemon(environment, home / "daemon.log") as daemon:
        _run_for(seconds, _workers(daemon, home, seed, clients, tally, readings))
        exit_code = _stopped(daemon)
    return verdicts(tally, readings, exit_code=exit_code, left=left_behind(environment))


def _write_models(home: Path) -> None:
    for number, (name, preset) in enumerate(MODELS.items()):
        write_preset(preset, home / "models" / name, seed=number)
    for number in range(2):
        write_preset("tiny", home / "aside" / f"{VISITOR}-{number}", seed=100 + number)
    with Registry.open(home / "registry.db") as registry:
        registry.add_root(home / "models")


def _workers(
    daemon: BackgroundDaemon, home: Path, seed: int, clients: int, tally: Tally, readings: Readings
) -> Mapping[str, Callable[[threading.Event], None]]:
    """What runs until it is told to stop, by name."""
    names = [*MODELS, VISITOR]
    trouble = Trouble(daemon.url, home, random.Random(seed), tally, names)
    work: dict[str, Callable[[threading.Event], None]] = {
        "trouble": trouble.make_until,
        "readings": lambda is_over: read_until(is_over, daemon.process.pid, readings),
    }
    for number in range(clients):
        chance = random.Random(1000 * seed + number + 1)
        work[f"client-{number}"] = lambda is_over, chance=chance: ask_until(is_over, daemon.url, names, chance, tally)  # type: ignore[misc]
    return work


def _run_for(seconds: float, work: Mapping[str, Callable[[threading.Event], None]]) -> None:
    is_over = threading.Event()
    threads = [threading.Thread(target=each, args=(is_over,), name=name) for name, each in work.items()]
    for thread in threads:
        thread.start()
    try:
        is_over.wait(seconds)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def _stopped(daemon: BackgroundDaemon) -> int:
    """Its exit code after SIGTERM."""
    daemon.process.send_signal(signal.SIGTERM)
    return daemon.process.wait(STOP_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
