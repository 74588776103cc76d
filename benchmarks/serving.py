"""One stream through HTTP against a bare onnxruntime-genai loop: same folder, same threads, interleaved, medians.

    python -m benchmarks.serving [--preset bench-0.5b] [--rounds 5] [--tokens 64]

The limit is the bare loop: it does nothing but prefill and decode. What slmreg adds is HTTP, JSON, the pipe to the
worker, chat template, its own sampling and detokenisation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from daemon.cli.background import background_daemon
from daemon.cli.openai_stream import StreamedAnswer
from registry.store import Registry
from scripts.model_factory import write_preset
from selector.hardware.detect import detect_hardware

MODEL = "bench"
PROMPT = "Tell me a story about a machine that reads all day long."


@dataclass(frozen=True)
class Run:
    """Seconds to the first token, and tokens per second after it."""

    ttft_s: float
    tokens_per_second: float


class Bare:
    """The smallest program that can answer with this model, in a process of its own, asked line by line."""

    def __init__(self, folder: Path, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.bare_loop", str(folder), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load_s = float(self._ask(None)["load_s"])

    def run(self, prompt: str, tokens: int) -> Run:
        answer = self._ask({"prompt": prompt, "tokens": tokens})
        return Run(answer["ttft_s"], answer["tokens_per_second"])

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _ask(self, question: dict[str, object] | None) -> dict[str, float]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the bare loop has no pipes")
        if question is not None:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer


def through_http(url: str, prompt: str, tokens: int) -> Run:
    """The stream's pieces are not tokens (bytes of one character come together): the usage counts them."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": tokens,
    }
    answer = StreamedAnswer(url, body)
    started_s = time.perf_counter()
    first_s = last_s = None
    for _ in answer:
        last_s = time.perf_counter()
        first_s = first_s or last_s
    if first_s is None or last_s is None or answer.usage["completion_tokens"] < tokens:
        raise SystemExit(f"the answer ended after {answer.usage} tokens; choose another --seed")
    return Run(first_s - started_s, (tokens - 1) / (last_s - first_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="bench-0.5b")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as scratch:
        measure(Path(scratch), options.preset, options.rounds, options.tokens, options.seed)


def measure(scratch: Path, preset: str, rounds: int, tokens: int, seed: int) -> None:
    folder = write_preset(preset, scratch / "models" / MODEL, seed=seed)
    with Registry.open(scratch / "registry.db") as registry:
        registry.add_root(scratch / "models")
    environment = {**os.environ, "SLMREG_HOME": str(scratch), "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
    threads = detect_hardware().cpu.usable_cores
    with background_daemon(environment, scratch / "daemon.log") as daemon:
        cold = through_http(daemon.url, "Hi", tokens)
        bare = Bare(folder, threads)
        bare_cold_s = bare.load_s + bare.run("Hi", 2).ttft_s
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(through_http(daemon.url, PROMPT, tokens))
            theirs.append(bare.run(PROMPT, tokens))
        bare.close()
    report(preset, threads, ours, theirs)
    print(f"cold: request to first token, {cold.ttft_s:.2f} s; bare load + first token {bare_cold_s:.2f} s", end="")
    print(f" (ratio {cold.ttft_s / bare_cold_s:.2f})")


def report(preset: str, threads: int, ours: list[Run], theirs: list[Run]) -> None:
    def median(values: list[float]) -> float:
        return statistics.median(values)

    speed, bare_speed = median([r.tokens_per_second for r in ours]), median([r.tokens_per_second for r in theirs])
    ttft, bare_ttft = median([r.ttft_s for r in ours]), median([r.ttft_s for r in theirs])
    print(f"{preset}, {threads} threads, medians of {len(ours)}")
    print(f"one stream: {speed:.1f} tokens/s through HTTP, {bare_speed:.1f} bare (ratio {speed / bare_speed:.2f})")
    print(f"first token: {ttft * 1000:.0f} ms through HTTP, {bare_ttft * 1000:.0f} ms bare", end="")
    print(f" (+{(ttft - bare_ttft) * 1000:.0f} ms)")


if __name__ == "__main__":
    main()
