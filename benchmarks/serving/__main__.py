"""Serving against a bare onnxruntime-genai loop, and every speed target with its limit.

    python -m benchmarks.serving [--preset bench-0.5b] [--folder MODEL] [--rounds 5] [--tokens 64] [--only NAME ...]
    python -m benchmarks.serving --engine batching     several streams at once, drafts, bare onnxruntime

The limit is the bare loop: the same folder, the same threads, spinning alike, interleaved in one run. It does nothing
but prefill and decode. What slmreg adds is HTTP, JSON, the pipe to the worker, chat template, its own sampling and
detokenisation. Every prompt is a new one. Exit code 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.serving import batching, measures
from benchmarks.serving.bare import Bare
from benchmarks.serving.figures import Figure
from benchmarks.serving.measures import FIRST, SECOND, Bench, user
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.served import Served
from daemon.cli.background import background_daemon
from registry.store import Registry
from scripts.model_factory import write_preset
from selector.hardware.detect import detect_hardware

SUITES = {"all": measures.PARTS, "batching": batching.PARTS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="bench-0.5b")
    parser.add_argument("--folder", type=Path, help="a folder that was written with the preset, instead of a new one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=SUITES, default="all", help="batching: several streams at once, and drafts")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some parts of it")
    options = parser.parse_args()
    if unknown := {*(options.only or ())} - {*SUITES[options.engine]}:
        parser.error(f"--only {' '.join(unknown)}: choose from {', '.join(SUITES[options.engine])}")
    threads = detect_hardware().cpu.usable_cores
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as scratch:
        _write_models(Path(scratch), options.folder, options.preset, options.seed)
        figures = _measured(Path(scratch), threads, options)
    print(f"{options.preset}, {threads} threads, medians of {options.rounds}")
    print("\n".join(map(str, figures)))
    return 0 if all(figure.is_met for figure in figures) else 1


def _write_models(home: Path, folder: Path | None, preset: str, seed: int) -> None:
    first = home / "models" / FIRST
    if folder is None:
        write_preset(preset, first, seed=seed)
    else:
        shutil.copytree(folder, first)
    shutil.copytree(first, home / "models" / SECOND)
    # Two models that are equal in every byte are one model in two places.
    config = home / "models" / SECOND / "genai_config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")


def _measured(home: Path, threads: int, options: argparse.Namespace) -> list[Figure]:
    folder = home / "models" / FIRST
    parts = SUITES[options.engine]
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(_daemon(home))
        needs_second = options.engine == "batching" and batching.WITHOUT_DRAFTS & {*(options.only or parts)}
        plain = stack.enter_context(_daemon(home, "plain", SLMREG_DRAFT_TOKENS="0")) if needs_second else served
        figures = measures.idle(served, "after the start")
        prompts = Prompts(options.seed, lambda text: served.stream(FIRST, [user(text)], 2).prompt_tokens)
        bench = Bench(
            served=served,
            without_drafts=plain,
            start_bare=partial(Bare, folder, threads),
            folder=folder,
            preset=options.preset,
            threads=threads,
            prompts=prompts,
            rounds=options.rounds,
            tokens=options.tokens,
        )
        for name in options.only or parts:
            figures += parts[name](bench)
        return figures + measures.idle(served, "after all of this")


@contextlib.contextmanager
def _daemon(home: Path, name: str = "daemon", **settings: str) -> Iterator[Served]:
    """One with the models of ``home``, but a registry of its own."""
    environment = {
        **os.environ,
        "SLMREG_HOME": str(home / name),
        "SLMREG_FOUNDRY_CACHES": "",
        "SLMREG_HF_CACHE": "",
        "SLMREG_WARM_TASKS": "none",
        "SLMREG_MAX_CONCURRENT": str(batching.MOST_STREAMS),
        **settings,
    }
    with Registry.open(home / name / "registry.db") as registry:
        registry.add_root(home / "models")
    with (
        background_daemon(environment, home / f"{name}.log") as daemon,
        contextlib.closing(Served(daemon.url, daemon.process.pid)) as served,
    ):
        served.wait_until_measured()
        yield served


if __name__ == "__main__":
    sys.exit(main())
