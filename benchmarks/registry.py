"""Very many models: finding them, finding nothing new, noticing one more, listing them, and what they cost in memory.

    python -m benchmarks.registry [--folders 10000] [--rounds 3] [--rest 1] [--json]

Scans are measured against bare walks of the same folders (benchmarks/bare_walk.py), interleaved in one run. Everything
is written to a temporary folder and deleted.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil

from benchmarks.bare_walk import parse_into_values, parse_like_us, parse_with_onnx, parsing_walk, stat_walk
from daemon.cli.background import BackgroundDaemon, background_daemon
from registry.model import Changes, Root, Source
from registry.scan import scan
from registry.store import Registry
from scripts.model_factory.many import many, write_another

SETTLE_S = 1.0
PAGE = 100
PARSERS = {
    "each graph parsed, nothing read out of it": parse_like_us,
    "the same with the onnx package": parse_with_onnx,
    "each graph parsed into values of Python": parse_into_values,
}
_PATIENCE_S = 60.0
_FIRST_SCAN_S = 600.0  # a daemon is ready after that


@dataclass(frozen=True)
class Bare:
    """One of the walks that the first scan is held against: median seconds, and the median of the ratios to it."""

    seconds: float
    ratio: float


@dataclass(frozen=True)
class Scans:
    """Median seconds, and medians of the ratios round by round."""

    first_s: float
    bare: Mapping[str, Bare]
    rescan_s: float
    stat_s: float
    rescan_ratio: float


@dataclass(frozen=True)
class Daemons:
    """What a running daemon does with all of them. ``noticed_s``: from the last write of a new folder until it can be
    asked for. ``listing_bytes_per_model``: what one listing of everything leaves behind."""

    noticed_s: float
    list_all_s: float
    list_page_s: float
    bytes_per_model: float
    listing_bytes_per_model: float
    restarted_bytes_per_model: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rest", type=float, default=1.0, help="seconds that memory has to stand still to be read")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as scratch:
        models = Path(scratch).resolve() / "models"
        started_s = time.perf_counter()
        folders = many(models, options.folders)
        print(f"wrote {len(folders)} folders in {time.perf_counter() - started_s:.1f} s", file=sys.stderr)
        scans = measure_scans(Path(scratch), models, options.rounds)
        daemons = measure_daemons(Path(scratch), models, folders, options.rounds, rest_s=options.rest)
    if options.json:
        print(json.dumps({"folders": options.folders, "scans": asdict(scans), "daemon": asdict(daemons)}, indent=2))
    else:
        report(options.folders, options.rounds, scans, daemons)


def measure_scans(scratch: Path, models: Path, rounds: int) -> Scans:
    """Each round does everything once, one right after the other, so that a slow moment of the machine hits it all."""
    parsing_walk(models, parse_with_onnx)  # from now on everybody reads from the disk's cache
    root = Root(models, Source.FOLDER, added_by_user=True)
    firsts, rescans = [], []
    for number in range(rounds):
        with Registry.open(scratch / f"round-{number}" / "registry.db") as registry:
            bare = [_seconds(partial(parsing_walk, models, parse)) for parse in PARSERS.values()]
            firsts.append((_seconds(partial(_scan, registry, root)), *bare))
            rescans += [_rescan_round(registry, root) for _ in range(rounds)]
    first, *bares = zip(*firsts, strict=True)
    stat, rescan = zip(*rescans, strict=True)
    return Scans(
        first_s=statistics.median(first),
        bare={
            name: Bare(statistics.median(each), _median_ratio(first, each))
            for name, each in zip(PARSERS, bares, strict=True)
        },
        rescan_s=statistics.median(rescan),
        stat_s=statistics.median(stat),
        rescan_ratio=_median_ratio(rescan, stat),
    )


def _rescan_round(registry: Registry, root: Root) -> tuple[float, float]:
    return _seconds(partial(stat_walk, root.path)), _seconds(partial(_scan, registry, root))


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def _scan(registry: Registry, root: Root) -> Changes:
    """What the daemon does at its start and at every rescan."""
    return registry.apply(scan([root], known=registry.known()))


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def measure_daemons(scratch: Path, models: Path, folders: tuple[Path, ...], rounds: int, *, rest_s: float) -> Daemons:
    """A daemon without models and one that finds them all, each started twice: the first start looks at the machine."""
    (scratch / "nothing").mkdir()
    with _daemon(scratch / "empty", scratch / "nothing") as daemon:
        empty_bytes = _resident_bytes(daemon, rest_s)
    with _daemon(scratch / "empty", scratch / "nothing") as daemon:
        restarted_empty_bytes = _resident_bytes(daemon, rest_s)
    with _daemon(scratch / "full", models) as daemon, _client(daemon) as client:
        found_bytes = _resident_bytes(daemon, rest_s)
        noticed = [_notice_s(client, models, folders[0], len(folders) + number) for number in range(rounds)]
        everything = [_get_s(client, len(folders)) for _ in range(2 * rounds + 1)]
        pages = [_get_s(client, min(PAGE, len(folders))) for _ in range(10 * rounds + 1)]
        listed_bytes = _resident_bytes(daemon, rest_s)
    with _daemon(scratch / "full", models) as daemon:
        restarted_bytes = _resident_bytes(daemon, rest_s)
    count = len(folders)
    return Daemons(
        noticed_s=statistics.median(noticed),
        list_all_s=statistics.median(everything[1:]),
        list_page_s=statistics.median(pages[1:]),
        bytes_per_model=(found_bytes - empty_bytes) / count,
        listing_bytes_per_model=(listed_bytes - found_bytes) / count,
        restarted_bytes_per_model=(restarted_bytes - restarted_empty_bytes) / count,
    )


@contextlib.contextmanager
def _daemon(home: Path, models: Path) -> Iterator[BackgroundDaemon]:
    with Registry.open(home / "registry.db") as registry:
        registry.add_root(models)
    with background_daemon(_environment(home), home / "daemon.log", timeout_s=_FIRST_SCAN_S) as daemon:
        yield daemon


def _environment(home: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLMREG_")}
    settings = {"SLMREG_SETTLE_S": str(SETTLE_S), "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
    return {**kept, **settings, "SLMREG_HOME": str(home)}


def _client(daemon: BackgroundDaemon) -> httpx.Client:
    return httpx.Client(base_url=daemon.url, trust_env=False, timeout=_PATIENCE_S)


def _resident_bytes(daemon: BackgroundDaemon, rest_s: float) -> int:
    """Of a daemon that is at rest: its memory stands still for ``rest_s``."""
    process = psutil.Process(daemon.process.pid)
    before, deadline_s = -1, time.monotonic() + _PATIENCE_S
    while (now := int(process.memory_info().rss)) != before and time.monotonic() < deadline_s:
        before = now
        time.sleep(rest_s)
    return now


def _notice_s(client: httpx.Client, models: Path, like: Path, number: int) -> float:
    """Seconds from the last write into a new folder until its model can be asked for, as an app that follows events."""
    name = f"model-{number:05}-generic-cpu"
    with client.stream("GET", "/slmreg/events") as stream:
        lines = stream.iter_lines()
        next(lines)  # the daemon knows us
        write_another(models / "new" / name, like, number)
        started_s = time.perf_counter()
        while f'"{name}:1"' not in next(lines):
            if time.perf_counter() - started_s > _PATIENCE_S:
                raise SystemExit("the daemon did not notice a new folder")
        client.get(f"/slmreg/models/{name}:1").raise_for_status()
        return time.perf_counter() - started_s


def _get_s(client: httpx.Client, limit: int) -> float:
    started_s = time.perf_counter()
    response = client.get("/slmreg/models", params={"limit": limit}).raise_for_status()
    seconds = time.perf_counter() - started_s
    if len(response.json()["data"]) != limit:
        raise SystemExit(f"the daemon did not list {limit} models")
    return seconds


def report(folders: int, rounds: int, scans: Scans, daemons: Daemons) -> None:
    print(f"{folders} folders of 9 files, medians of {rounds} rounds")
    print(f"first scan, written down: {scans.first_s:.2f} s ({scans.first_s / folders * 1000:.2f} ms a folder)")
    for name, bare in scans.bare.items():
        print(f"  bare walk, {name}: {bare.seconds:.2f} s (ratio {bare.ratio:.2f}, limit 2)")
    print(f"rescan, nothing changed: {scans.rescan_s * 1000:.0f} ms")
    print(f"  bare stat walk: {scans.stat_s * 1000:.0f} ms (ratio {scans.rescan_ratio:.2f}, limit 1.5)")
    print(f"one new folder: selectable {daemons.noticed_s:.2f} s after its last write", end="")
    print(f" (settle_s {SETTLE_S}, limit {SETTLE_S + 0.5})")
    print(f"GET /slmreg/models, all at once: {daemons.list_all_s * 1000:.0f} ms (limit 150)")
    print(f"GET /slmreg/models, a page of {PAGE}: {daemons.list_page_s * 1000:.1f} ms (limit 10)")
    print(f"memory of the daemon: {daemons.bytes_per_model / 1000:.1f} KB a model (limit 5)", end="")
    print(f"; {daemons.restarted_bytes_per_model / 1000:.1f} KB when it is started again")
    print(f"  listing all of them leaves {daemons.listing_bytes_per_model / 1000:.1f} KB a model")


if __name__ == "__main__":
    main()
