"""Very many models: copies of the real ones under names of their own, three variants of each for a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from benchmarks.selection.catalog import catalog
from registry.model import Device, Model, Precision, Task

VARIANTS = 3


def crowd(models: int, *, seed: int = 1) -> tuple[Model, ...]:
    """``models`` that write text, sizes varied by up to a tenth: int4, int4 for the float kernels, and int8."""
    dice = Random(f"crowd of {seed}")
    patterns = tuple({m.alias: m for m in catalog() if _is_pattern(m)}.values())
    return tuple(
        variant
        for number in range(models)
        for variant in _variants(patterns[number % len(patterns)], number, dice.uniform(0.9, 1.1))
    )


def in_folders_of(facts: Sequence[Model], found: Sequence[Model]) -> tuple[Model, ...]:
    """``facts`` as if they had been read from the folders of ``found``, one each, which are still as they were."""
    return tuple(
        replace(
            model,
            path=folder.path,
            source=folder.source,
            fingerprint=folder.fingerprint,
            content=folder.content,
            size_bytes=folder.size_bytes,
        )
        for model, folder in zip(facts, found, strict=True)
    )


def _is_pattern(model: Model) -> bool:
    return Task.CHAT in model.tasks and model.device is Device.CPU and model.precision is Precision.INT4


def _variants(pattern: Model, number: int, factor: float) -> Iterator[Model]:
    alias = f"{pattern.alias}-tune{number:04}"
    weights = int(factor * pattern.weight_bytes)
    tuned = replace(pattern, alias=alias, parameters=int(factor * (pattern.parameters or 0)), weight_bytes=weights)
    yield _named(tuned, "generic-cpu")
    yield _named(replace(tuned, accuracy_level=0), "float-generic-cpu")
    yield _named(
        replace(tuned, precision=Precision.INT8, accuracy_level=None, weight_bytes=int(1.6 * weights)),
        "int8-generic-cpu",
    )


def _named(model: Model, suffix: str) -> Model:
    name = f"{model.alias}-{suffix}"
    return replace(model, name=name, path=model.path.parent / name, content=name)
