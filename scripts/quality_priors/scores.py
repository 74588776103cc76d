"""The published scores as the fit sees them: one share between 0 and 1 for each model, mode, task and benchmark."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.model import Task

DATA = Path(__file__).parent / "data"

# Tasks of the file by ours. Not used: longctx, which is no task here, and vision and embeddings, with two models and
# one. AIME is left out of reasoning and of math: plain models score next to nothing there, and with it in, held-out
# scores of other benchmarks are predicted worse (math, by model: 6.6 points instead of 5.7).
_TASKS = {
    "chat": Task.CHAT,
    "instruct": Task.CHAT,
    "code": Task.CODE,
    "math": Task.MATH,
    "reasoning": Task.REASONING,
    "knowledge": Task.REASONING,
    "tools": Task.TOOLS,
    "audio": Task.TRANSCRIPTION,
}
_LEFT_OUT = ("AIME",)
# One effort stands for a model that always thinks: the one it has unless told otherwise.
_OTHER_EFFORTS = ("reasoning-low", "reasoning-high")
# Logits of scores closer to 0 or 1 would count for more than they say.
_MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Score:
    """One published score. ``benchmark`` is benchmark and harness, ``mode`` is "plain" or "thinking"."""

    task: Task
    family: str
    model: str
    mode: str
    billions: float
    active_billions: float
    benchmark: tuple[str, str]
    share: float

    @property
    def logit(self) -> float:
        share = min(max(self.share, _MARGIN), 1 - _MARGIN)
        return math.log(share / (1 - share))

    @property
    def size(self) -> float:
        """log2 of billions of parameters; of a mixture of experts halfway between all and active ones."""
        return (math.log2(self.billions) + math.log2(self.active_billions)) / 2

    @property
    def is_reasoner(self) -> bool:
        """Made from another model by training on reasoning alone; it has no plain mode."""
        return "-R1-" in self.model or "reasoning" in self.model

    @property
    def is_coder(self) -> bool:
        return "-Coder-" in self.model


def read_scores(file: Path = DATA / "published_scores.csv") -> tuple[Score, ...]:
    with file.open(encoding="utf-8", newline="") as lines:
        return tuple(_scores(csv.DictReader(lines)))


def _scores(rows: Iterator[dict[str, str]]) -> Iterator[Score]:
    for row in rows:
        task, share = _TASKS.get(row["task"]), _share(float(row["score"]), row["unit"])
        if task is None or share is None or row["benchmark"].startswith(_LEFT_OUT) or row["mode"] in _OTHER_EFFORTS:
            continue
        yield Score(
            task=task,
            # A model for code differs from its family by its speciality.
            family=row["family"].removesuffix("-coder"),
            model=row["model"],
            mode="plain" if row["mode"] in ("", "non-thinking") else "thinking",
            billions=float(row["params_b"]),
            active_billions=float(row["active_params_b"]),
            benchmark=(row["benchmark"], row["harness"]),
            share=share,
        )


def _share(score: float, unit: str) -> float | None:
    """None for a unit that has no upper end."""
    if unit == "%":
        return score / 100
    if unit == "0-10":
        return score / 10
    return 1 - score / 100 if unit.startswith("WER%") else None
