"""Models and machines for the selector's tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from registry.model import Model, Precision, Source, Task
from selector.hardware import Cpu, Hardware, Memory
from selector.select import select
from selector.selection import Circumstances, Selection, SelectionRequest

GB = 1_000_000_000
TEXT_TASKS = (Task.CHAT, Task.CODE, Task.REASONING, Task.MATH, Task.TOOLS)


def make_model(name: str = "qwen2.5-1.5b-instruct", **fields: Any) -> Model:
    """An int4 CPU model of 1.5 B parameters unless ``fields`` says otherwise."""
    defaults: dict[str, Any] = {
        "version": "1",
        "alias": name,
        "path": Path("models") / name,
        "source": Source.FOLDER,
        "tasks": TEXT_TASKS,
        "parameters": 1_540_000_000,
        "precision": Precision.INT4,
        "accuracy_level": 4,
        "weight_bytes": 1_100_000_000,
        "kv_bytes_per_token": 57_344,
        "context_tokens": 32_768,
        "vocab_size": 151_936,
    }
    return Model(name=name, **(defaults | fields))


def make_demo(**fields: Any) -> Model:
    return make_model(
        "slmreg-demo",
        source=Source.DEMO,
        parameters=2_000_000,
        weight_bytes=1_500_000,
        kv_bytes_per_token=3_072,
        context_tokens=2_048,
        vocab_size=2_048,
        **fields,
    )


def make_machine(
    *, available_gb: float = 12, total_gb: float = 16, limit_gb: float | None = None, cores: int = 4, **fields: Any
) -> Hardware:
    return Hardware(
        cpu=Cpu("test", cores, cores, cores, ("avx2",)),
        memory=Memory(
            total_bytes=int(total_gb * GB),
            available_bytes=int(available_gb * GB),
            limit_bytes=None if limit_gb is None else int(limit_gb * GB),
        ),
        **fields,
    )


def choose(request: SelectionRequest, models: Iterable[Model], machine: Hardware, **now: Any) -> Selection:
    """A choice on this machine; ``now`` is what else is so, lists or tuples."""
    facts: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in now.items()}
    return select(request, models, Circumstances(hardware=machine, **facts))
