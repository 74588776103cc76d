"""The bare loop in a process of its own, asked line by line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BareRun:
    """Seconds to the first token, and tokens per second after it."""

    ttft_s: float
    tokens_per_second: float


class Bare:
    """The smallest program that can answer with this model. It imports at once and loads when told to.

    ``loop`` is the module that has it.
    """

    def __init__(self, folder: Path, threads: int, loop: str = "benchmarks.bare_loop") -> None:
        command = [sys.executable, "-m", loop, str(folder), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._hear()

    def load(self) -> float:
        """Seconds that it took."""
        return self._ask({"load": True})["load_s"]

    def run(self, prompt: str, tokens: int) -> BareRun:
        """Raises SystemExit if the answer has fewer tokens: its speed would be another one."""
        answer = self._ask({"prompt": prompt, "tokens": tokens})
        if answer["completion_tokens"] < tokens:
            raise SystemExit(f"the bare answer ended after {answer['completion_tokens']} tokens; choose another --seed")
        return BareRun(answer["ttft_s"], answer["tokens_per_second"])

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, question: dict[str, object]) -> dict[str, float]:
        if self._process.stdin is None:
            raise RuntimeError("the bare loop has no pipes")
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, float]:
        if self._process.stdout is None:
            raise RuntimeError("the bare loop has no pipes")
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        return answer
