"""Thousands of requests to one model: does the memory of the daemon and of the model's process stay flat?

    python -m benchmarks.many_requests [--requests 10000] [--clients 8] [--seed 0] [--engine auto]

Prompts of many lengths, half of which begin like an earlier one; streamed or not, a tenth left in the middle; sampled,
with log probabilities, or in a guided form. Resident memory is read once a second. Exit code 1 if that of the last
fifth of the time is more than 5% above that of the second, or a request has failed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.soak.readings import Readings, read_until, second_and_last_fifth
from daemon.cli.background import background_daemon
from registry.store import Registry
from scripts.model_factory import write_preset

MOST_GROWTH = 0.05
MEGABYTE = 1_000_000
_WORDS = ("alpha", "beta", "gamma", "delta", "one", "two", "three", "what", "is", "there")
_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
_GUIDE = {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA}}
_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Outcome:
    """``readings`` by process."""

    answered: int = 0
    left: int = 0
    failures: list[str] = field(default_factory=list)
    readings: dict[str, Readings] = field(default_factory=dict)
    seconds: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["auto", "generator"], default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slmreg-many-") as scratch:
        outcome = ask_many(
            Path(scratch),
            requests=options.requests,
            clients=options.clients,
            seed=options.seed,
            engine=options.engine,
        )
    lines = list(report(outcome))
    print("\n".join(f"{'ok    ' if is_right else 'FAILED'} {words}" for words, is_right in lines))
    return 0 if all(is_right for _, is_right in lines) else 1


def ask_many(home: Path, *, requests: int, clients: int, seed: int, engine: str) -> Outcome:
    """Everything is written under ``home``."""
    write_preset("tiny", home / "models" / "tiny")
    with Registry.open(home / "registry.db") as registry:
        registry.add_root(home / "models")
    settings = {"HOME": home, "FOUNDRY_CACHES": "", "HF_CACHE": "", "ENGINE": engine, "WARM_TASKS": "none"}
    environment = {**os.environ, **{f"SLMREG_{name}": str(value) for name, value in settings.items()}}
    with ExitStack() as stack:
        daemon = stack.enter_context(background_daemon(environment, home / "daemon.log"))
        loaded = httpx.post(f"{daemon.url}/slmreg/load", json={"model": "tiny"}, timeout=_TIMEOUT_S).raise_for_status()
        processes = {"daemon": daemon.process.pid, "worker": loaded.json()["pid"]}
        return _asked(daemon.url, processes, requests, clients, seed)


def _asked(url: str, processes: dict[str, int], requests: int, clients: int, seed: int) -> Outcome:
    outcome, is_over, started = Outcome(), threading.Event(), time.perf_counter()
    readers: list[threading.Thread] = []
    for name, pid in processes.items():
        outcome.readings[name] = Readings()
        readers.append(threading.Thread(target=read_until, args=(is_over, pid, outcome.readings[name])))
    numbers = itertools.count()
    lock = threading.Lock()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:
            while (number := _next(numbers, lock)) < requests:
                _ask_one(client, random.Random(seed * requests + number), outcome, lock)

    askers = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in (*readers, *askers):
        thread.start()
    for thread in askers:
        thread.join()
    outcome.seconds = time.perf_counter() - started
    is_over.set()
    for thread in readers:
        thread.join()
    return outcome


def _next(numbers: Iterator[int], lock: threading.Lock) -> int:
    with lock:
        return next(numbers)


def _ask_one(client: httpx.Client, chance: random.Random, outcome: Outcome, lock: threading.Lock) -> None:
    body = _body(chance)
    leaves = body["stream"] and chance.random() < 0.2
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if leaves:
                next(response.iter_lines(), None)
            else:
                response.read()
        problem = None if response.status_code == 200 else f"{response.status_code}"
    except httpx.HTTPError as error:
        problem = repr(error)
    with lock:
        if problem is not None:
            outcome.failures.append(problem)
        elif leaves:
            outcome.left += 1
        else:
            outcome.answered += 1


def _body(chance: random.Random) -> dict[str, Any]:
    """One chat; half of them go on from one of a hundred beginnings."""
    beginning = random.Random(chance.randrange(100)) if chance.random() < 0.5 else chance
    words = [beginning.choice(_WORDS) for _ in range(40)] + [
        chance.choice(_WORDS) for _ in range(chance.randint(0, 60))
    ]
    body: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": " ".join(words)}],
        "max_tokens": chance.randint(1, 12),
        "stream": chance.random() < 0.5,
    }
    extra: list[dict[str, Any]] = [
        {},
        {"temperature": 0},
        {"seed": 5, "frequency_penalty": 0.5},
        {"logprobs": True, "top_logprobs": 2},
        {"response_format": _GUIDE},
    ]
    return {**body, **chance.choice(extra)}


def report(outcome: Outcome) -> Iterator[tuple[str, bool]]:
    """Lines, and whether each is as it has to be."""
    every = outcome.answered + outcome.left + len(outcome.failures)
    said = f": {', '.join(sorted(set(outcome.failures))[:3])}" if outcome.failures else ""
    yield (
        f"{every} requests in {outcome.seconds:.0f} s: {outcome.answered} answered, {outcome.left} left in the middle, "
        f"{len(outcome.failures)} failed{said}",
        not outcome.failures,
    )
    for name, readings in outcome.readings.items():
        yield _growth(name, readings.resident_bytes)


def _growth(name: str, resident_bytes: Sequence[int]) -> tuple[str, bool]:
    before, after = second_and_last_fifth(list(resident_bytes))
    growth = after / before - 1
    course = " ".join(f"{resident_bytes[len(resident_bytes) * tenth // 10] / MEGABYTE:.1f}" for tenth in range(10))
    words = f"memory of the {name} {before / MEGABYTE:.1f} -> {after / MEGABYTE:.1f} MB, {growth:+.1%} (limit +5%)"
    return f"{words}; over time: {course}", growth <= MOST_GROWTH


if __name__ == "__main__":
    sys.exit(main())
