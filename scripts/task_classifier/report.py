"""How often the classifier that ships is right: accuracy and confusion for the held-out templates and by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from registry.model import Task
from scripts.task_classifier.prompts import Prompt, by_hand, held_out, training
from selector.classify import classify
from selector.task_features import TASKS_BY_TEXT

Confusion = Counter[tuple[Task, Task]]


def report() -> Iterator[str]:
    for name, prompts in (("training", training()), ("held-out templates", held_out()), ("by hand", by_hand())):
        yield from (*table(name, confusion(prompts)), "")


def confusion(prompts: Iterable[Prompt]) -> Confusion:
    """How many prompts of one task (first) were taken for another (second)."""
    return Counter((prompt.task, classify([prompt.text]).task) for prompt in prompts)


def accuracy(counts: Confusion) -> float:
    return sum(count for (is_task, found), count in counts.items() if is_task is found) / sum(counts.values())


def table(name: str, counts: Confusion) -> Iterator[str]:
    """Rows are what a prompt is, columns what it was taken for."""
    yield f"{name}: {accuracy(counts):.1%} of {sum(counts.values())}"
    yield f"{'':10}" + "".join(f"{task.value:>10}" for task in TASKS_BY_TEXT)
    for task in TASKS_BY_TEXT:
        yield f"{task.value:10}" + "".join(f"{counts[task, found]:10}" for found in TASKS_BY_TEXT)


def misses(prompts: Iterable[Prompt]) -> Iterator[str]:
    for prompt in prompts:
        found = classify([prompt.text])
        if found.task is not prompt.task:
            text = " ".join(prompt.text.split())[:100]
            yield f"{prompt.task.value} taken for {found.task.value} ({found.because}): {text}"
