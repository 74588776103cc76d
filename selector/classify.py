"""Which task is this request? For ``auto``, where nobody says it.

What is attached decides first. Else each of the user's turns is evidence for code, math and reasoning against chat:
what its features weigh, by the fitted table ``task_weights.json`` (docs/classifier.md). Invariants: no state is kept,
the same turns give the same answer; the work is bounded whatever their number and length; a turn that shows nothing
("thanks, and shorter please") changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.model import Task
from selector.task_features import MOST_CHARS, TASKS_BY_TEXT, Features, read_features

WEIGHTS_FILE = Path(__file__).with_name("task_weights.json")
# All of the following is judged.
# Of longer conversations the first two turns, which say what they are about, and the last ones are read. The first and
# the last turn are read in full length, those between more briefly.
FIRST_TURNS, LAST_TURNS = 2, 6
BRIEF_CHARS = 120
# No single turn says more than this, in logits: about 98%.
_MOST_EVIDENCE = 4.0
# Logits between the best and the worst task; less is no evidence at all (one "me" or "please" is not).
_LEAST_EVIDENCE = 1.5
# What was said before counts by so much less with each turn that says something.
_DECAY = 0.6
# By so many logits another task must lead before the conversation changes to it.
_MARGIN = 1.0
# The lead of a task that the caller names as the previous one, whatever the turns at hand show: about a clear turn.
_LEAD_OF_PREVIOUS = 3.0
# A task other than chat has to be at least this likely.
_LEAST_CONFIDENCE = 0.5
_MOST_REASONS = 4

Evidence = dict[Task, float]


@dataclass(frozen=True, slots=True)
class Classified:
    """``confidence`` is the probability of ``task`` by the evidence, 0 to 1, and 1 where an attachment decided.

    ``because`` is one short phrase for people. It holds words of our own lists, never other text of the prompt.
    """

    task: Task
    confidence: float
    because: str


@dataclass(frozen=True, slots=True)
class TaskWeights:
    """Logits against chat: of a text that shows nothing, and of each feature."""

    bias: Mapping[Task, float]
    weights: Mapping[str, Mapping[Task, float]]


def load_weights(file: Path = WEIGHTS_FILE) -> TaskWeights:
    document = json.loads(file.read_text(encoding="utf-8"))
    tasks = [Task(name) for name in document["tasks"]]
    return TaskWeights(
        bias=dict(zip(tasks, document["bias"], strict=True)),
        weights={name: dict(zip(tasks, row, strict=True)) for name, row in document["weights"].items()},
    )


WEIGHTS = load_weights()


def classify(
    turns: Sequence[str],
    *,
    has_tools: bool = False,
    has_images: bool = False,
    has_audio: bool = False,
    previous: Task | None = None,
) -> Classified:
    """The task of a conversation, from the texts of the user's ``turns``, oldest first.

    Audio decides before images, and images before tools: a model that cannot hear or see has no answer at all, while
    one that was not trained for tools may still give one. ``previous`` is the task that the conversation had before
    its last turn, where the caller knows it; only a clear last turn changes it. Uncertain is chat.
    """
    for is_there, task, because in (
        (has_audio, Task.TRANSCRIPTION, "there is audio"),
        (has_images, Task.VISION, "there are images"),
        (has_tools, Task.TOOLS, "tools are offered"),
    ):
        if is_there:
            return Classified(task, 1.0, because)
    course = _Course()
    read = [read_features(text, most_chars) for text, most_chars in _bounded(turns)]
    for features in read[:-1]:
        course = course.after(features)
    if previous in TASKS_BY_TEXT:
        course = course.led_by(previous)
    if read:
        course = course.after(read[-1])
    return Classified(course.task, round(course.confidence, 3), course.because)


@dataclass(frozen=True, slots=True)
class _Course:
    """Where a conversation stands: the decayed sum of its evidence, and the task that leads it."""

    total: Mapping[Task, float] | None = None
    task: Task = Task.CHAT
    because: str = "nothing speaks for another task"

    @property
    def confidence(self) -> float:
        total = WEIGHTS.bias if self.total is None else self.total
        highest = max(total.values())
        powers = {task: math.exp(value - highest) for task, value in total.items()}
        return powers[self.task] / sum(powers.values())

    def after(self, features: Features) -> _Course:
        """One turn later. The first turn that says something decides; after it, another task needs a clear lead."""
        evidence = _evidence(features)
        if max(evidence.values()) - min(evidence.values()) < _LEAST_EVIDENCE:
            return self
        if self.total is None:
            total = {task: WEIGHTS.bias[task] + evidence[task] for task in TASKS_BY_TEXT}
            best = _Course(total, max(TASKS_BY_TEXT, key=total.__getitem__))
            if best.confidence < _LEAST_CONFIDENCE:
                return _Course(total, because="unclear")
            return _Course(total, best.task, _reasons(features, best.task) or self.because)
        total = {task: _DECAY * self.total[task] + evidence[task] for task in TASKS_BY_TEXT}
        best = _Course(total, max(TASKS_BY_TEXT, key=total.__getitem__))
        if best.task is self.task:
            return _Course(total, self.task, self.because if self.task is Task.CHAT else _kept(self.because))
        if total[best.task] - total[self.task] < _MARGIN or best.confidence < _LEAST_CONFIDENCE:
            return _Course(total, self.task, _kept(self.because))
        return _Course(total, best.task, _reasons(features, best.task) or "the later turns")

    def led_by(self, task: Task) -> _Course:
        """The same, where ``task`` is known to have led so far."""
        if task is self.task and self.total is not None:
            return self
        total = dict(self.total or dict.fromkeys(TASKS_BY_TEXT, 0.0))
        total[task] = max(total.values()) + _LEAD_OF_PREVIOUS
        return _Course(total, task, _kept(""))


def _bounded(turns: Sequence[str]) -> list[tuple[str, int]]:
    """The turns that are read, and how many characters of each."""
    kept = turns if len(turns) <= FIRST_TURNS + LAST_TURNS else (*turns[:FIRST_TURNS], *turns[-LAST_TURNS:])
    return [(text, MOST_CHARS if at in (0, len(kept) - 1) else BRIEF_CHARS) for at, text in enumerate(kept)]


def _evidence(features: Features) -> Evidence:
    """Logits of each task against their mean, so that no turn counts more than another by showing more."""
    sums = dict.fromkeys(TASKS_BY_TEXT, 0.0)
    for name, value in features.values.items():
        for task, weight in WEIGHTS.weights[name].items():
            sums[task] += weight * value
    mean = sum(sums.values()) / len(sums)
    most = max(abs(each - mean) for each in sums.values())
    scale = min(1.0, _MOST_EVIDENCE / most) if most else 1.0
    return {task: (each - mean) * scale for task, each in sums.items()}


def _reasons(features: Features, task: Task) -> str:
    """What speaks most for ``task``: signs as they are called, then words."""
    gains = {
        name: value * (WEIGHTS.weights[name][task] - sum(WEIGHTS.weights[name].values()) / len(TASKS_BY_TEXT))
        for name, value in features.values.items()
    }
    best = sorted((name for name, gain in gains.items() if gain > 0), key=lambda name: -gains[name])[:_MOST_REASONS]
    signs = [features.found[name][0] for name in best if not features.is_words(name)]
    words = [word for name in best if features.is_words(name) for word in features.found[name]]
    parts = [*dict.fromkeys(signs)]
    if words:
        parts.append(f"words: {', '.join(words[:_MOST_REASONS])}")
    return "; ".join(parts)


def _kept(because: str) -> str:
    start = "the conversation so far"
    return because if because.startswith(start) else f"{start} ({because})" if because else start
