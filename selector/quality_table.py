"""The fitted table that ships beside this module, ``quality_priors.json``, as frozen values.

``python -m scripts.quality_priors --write`` makes it; docs/quality.md says from what. Abilities are logits of a share
of tasks done: 0 is 50 points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.model import Task

TABLE_FILE = Path(__file__).with_name("quality_priors.json")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number in logits with its standard deviation."""

    mean: float
    spread: float


@dataclass(frozen=True, slots=True)
class Ability:
    """What ``scores`` published scores of one model, shrunk towards its family and size, say about one task."""

    estimate: Estimate
    scores: int


@dataclass(frozen=True, slots=True)
class TaskPrior:
    """What size alone says about a task: ``at_1b + per_doubling x log2(billions)``.

    The line is known best at ``centre`` (log2 of billions); away from it the spread grows with ``slope_spread`` per
    doubling. ``unknown_spread`` is that of a family without scores, ``model_spread`` that of models about their family.
    ``shifts`` are what a speciality or thinking adds.
    """

    at_1b: float
    per_doubling: float
    centre: float
    slope_spread: float
    unknown_spread: float
    model_spread: float
    shifts: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model with published scores. ``plain`` and ``thinking`` are its modes; one that it does not have is empty."""

    name: str
    family: str
    billions: float
    plain: Mapping[Task, Ability]
    thinking: Mapping[Task, Ability]


@dataclass(frozen=True, slots=True)
class QuantisationLoss:
    """Points: int4 loses ``at_1b x billions^-exponent``, at least one billion; ``wide_block`` times that beyond 32."""

    at_1b: float
    exponent: float
    wide_block: float
    tools: float
    int8: float


@dataclass(frozen=True, slots=True)
class QualityTable:
    tasks: Mapping[Task, TaskPrior]
    families: Mapping[str, Mapping[Task, Estimate]]
    models: Mapping[str, KnownModel]
    quantisation: QuantisationLoss


def load_table(file: Path = TABLE_FILE) -> QualityTable:
    document = json.loads(file.read_text(encoding="utf-8"))
    int4 = document["quantisation"]["int4"]
    return QualityTable(
        tasks={Task(name): _task(entry) for name, entry in document["tasks"].items()},
        families={
            name: {Task(task): Estimate(*numbers) for task, numbers in entry.items()}
            for name, entry in document["families"].items()
        },
        models={
            name: KnownModel(
                name, entry["family"], entry["billions"], _abilities(entry, "plain"), _abilities(entry, "thinking")
            )
            for name, entry in document["models"].items()
        },
        quantisation=QuantisationLoss(**int4, int8=document["quantisation"]["int8"]["loss"]),
    )


def _task(entry: Mapping[str, Any]) -> TaskPrior:
    return TaskPrior(
        at_1b=entry["at_1b"],
        per_doubling=entry["per_doubling"],
        centre=entry["centre"],
        slope_spread=entry["slope_sd"],
        unknown_spread=entry["unknown_sd"],
        model_spread=entry["model_sd"],
        shifts={name: Estimate(*numbers) for name, numbers in entry["shifts"].items()},
    )


def _abilities(entry: Mapping[str, Any], mode: str) -> dict[Task, Ability]:
    return {
        Task(task): Ability(Estimate(mean, spread), scores)
        for task, (mean, spread, scores) in entry.get(mode, {}).items()
    }
