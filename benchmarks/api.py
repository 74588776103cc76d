"""What the daemon itself costs: listing many models, one short answer, and passing on the tokens of many streams; and
how soon it acts on clients that leave, and on more of them than it takes.

    python -m benchmarks.api [--preset bench-0.5b] [--models 1000] [--rounds 5] [--tokens 64]

The client and the model's process have their own share of the machine; the daemon's is its CPU time. Exit code 1 if a
limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from benchmarks.api_trouble import leaving, refusals
from benchmarks.serving.figures import Figure, median
from benchmarks.serving.measures import FIRST, user
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.served import Served
from daemon.cli.background import BackgroundDaemon, background_daemon
from registry.store import Registry
from scripts.model_factory import write_preset
from scripts.model_factory.many import many

REQUESTS = 200
SHORT_ANSWERS = 20
STREAMS = 8
_FINISHED = re.compile(r"answer\.finished .* ttft_s=([0-9.]+) decode_s=([0-9.]+)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="bench-0.5b")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as scratch:
        home = Path(scratch).resolve()
        many(home / "models", options.models)
        write_preset(options.preset, home / "bench" / FIRST)
        figures = _measured(home, options)
    print(f"{options.preset} beside {options.models} other models, medians of {options.rounds}")
    print("\n".join(map(str, figures)))
    return 0 if all(figure.is_met for figure in figures) else 1


def _measured(home: Path, options: argparse.Namespace) -> list[Figure]:
    environment = {
        **os.environ,
        "SLMREG_HOME": str(home),
        "SLMREG_FOUNDRY_CACHES": "",
        "SLMREG_HF_CACHE": "",
        "SLMREG_WARM_TASKS": "none",
        "SLMREG_MAX_CONCURRENT": str(STREAMS),
        "SLMREG_MAX_QUEUE": str(STREAMS),
    }
    with Registry.open(home / "registry.db") as registry:
        registry.add_root(home / "models")
        registry.add_root(home / "bench")
    log = home / "daemon.log"
    with (
        background_daemon(environment, log) as daemon,
        contextlib.closing(Served(daemon.url, daemon.process.pid)) as served,
    ):
        served.wait_until_measured()
        prompts = Prompts(0, lambda text: served.stream(FIRST, [user(text)], 2).prompt_tokens)
        return [
            listing(daemon, options.rounds),
            short_answers(served, prompts, log, options.rounds),
            many_streams(daemon, served, prompts, options.rounds, options.tokens),
            *(leaving(served, daemon.url, prompts, options.rounds, is_streamed=each) for each in (True, False)),
            *refusals(served, daemon.url, prompts, STREAMS),
        ]


def listing(daemon: BackgroundDaemon, rounds: int) -> Figure:
    """Requests for all models a second of the daemon's CPU time, over one connection."""
    process = psutil.Process(daemon.process.pid)
    rates, sizes = [], set[int]()
    for _ in range(rounds):
        before_s = _used_s(process)
        sizes |= _fetched(daemon.url, "/v1/models", REQUESTS)
        rates.append(REQUESTS / (_used_s(process) - before_s))
    detail = f"GET /v1/models, {max(sizes) / 1000:.0f} kB each"
    return Figure("listing", median(rates), "a second of a core", 500, detail, is_floor=True)


def _fetched(url: str, path: str, count: int) -> set[int]:
    """The sizes of ``count`` answers, read from a bare socket: a client library would take longer than the daemon."""
    at = httpx.URL(url)
    request = f"GET {path} HTTP/1.1\r\nHost: {at.host}:{at.port}\r\nConnection: close\r\n\r\n".encode()
    sizes = set()
    for _ in range(count):
        with socket.create_connection((at.host, at.port or 80)) as connection:
            connection.sendall(request)
            size = 0
            while part := connection.recv(1 << 20):
                size += len(part)
        sizes.add(size)
    return sizes


def short_answers(served: Served, prompts: Prompts, log: Path, rounds: int) -> Figure:
    """What a client waits for one token longer than the model's process took from its side."""
    added_ms, whole_ms = [], []
    for _ in range(rounds * SHORT_ANSWERS):
        prompt = prompts.fresh(16)
        stream = served.stream(FIRST, [user(prompt)], 1)
        took_s = stream.ended_s - stream.started_s
        ttft_s, decode_s = _FINISHED.findall(log.read_text(encoding="utf-8"))[-1]
        whole_ms.append(1000 * took_s)
        added_ms.append(1000 * (took_s - float(ttft_s) - float(decode_s)))
    detail = f"of {median(whole_ms):.0f} ms for a completion of one token; p95 {_p95(added_ms):.1f} ms"
    return Figure("one token", median(added_ms), "ms more", 5, detail)


def many_streams(daemon: BackgroundDaemon, served: Served, prompts: Prompts, rounds: int, tokens: int) -> Figure:
    """CPU time of the daemon while it passes on several streams, as a share of the time they take."""
    process = psutil.Process(daemon.process.pid)
    shares, rates = [], []
    for _ in range(rounds):
        asked = [[user(prompts.fresh(16))] for _ in range(STREAMS)]
        before_s, started_s = _used_s(process), time.perf_counter()
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(lambda messages: served.stream(FIRST, messages, tokens), asked))
        took_s = time.perf_counter() - started_s
        shares.append(100 * (_used_s(process) - before_s) / took_s)
        rates.append(STREAMS * tokens / took_s)
    return Figure(f"{STREAMS} streams", median(shares), "% core", 10, f"at {median(rates):.0f} tokens/s together")


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[18]


if __name__ == "__main__":
    sys.exit(main())
