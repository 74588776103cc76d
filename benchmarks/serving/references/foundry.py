"""Foundry Local's SDK with the same folder, in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks.serving.references.environment import FOUNDRY, python_with


class Foundry:
    """A process that has loaded the model at ``folder``."""

    def __init__(self, folder: Path, home: Path, environments: Path) -> None:
        python = python_with(FOUNDRY, environments / "foundry")
        command = [python, "-W", "ignore", Path(__file__).with_name("foundry_loop.py"), folder, home]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(list(map(str, command)), stdin=pipe, stdout=pipe, text=True)
        self._hear()

    def rate(self, prompts: list[str], tokens: int) -> float:
        """Tokens per second of all prompts together, answered at the same time with ``tokens`` each."""
        if self._process.stdin is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps({"prompts": prompts, "tokens": tokens}) + "\n")
        self._process.stdin.flush()
        return self._hear()["tokens_per_second"]

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _hear(self) -> dict[str, float]:
        if self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        while not (line := self._process.stdout.readline()).startswith("{"):
            if not line:
                raise SystemExit("Foundry Local's SDK ended; its messages are above")
        answer: dict[str, float] = json.loads(line)
        return answer
