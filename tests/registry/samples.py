"""A model with something in most fields, as a folder in a Foundry cache has it, and what tests do with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.experience import EngineProof, Evaluation, EvaluationKind, Measurement, Tuning
from registry.model import Device, FolderProblem, Model, Precision, Problem, ScanReport, Source, Task

RICH = Model(
    name="Phi-4-generic-cpu",
    version="5",
    alias="phi-4",
    path=Path("/r/phi"),
    source=Source.FOUNDRY,
    problems=(Problem("unknown_execution_provider", "Which?", "genai_config.json"),),
    tasks=(Task.CHAT, Task.TOOLS),
    family="phi",
    model_type="phi3",
    parameters=3_800_000_000,
    precision=Precision.INT4,
    accuracy_level=4,
    size_bytes=2**33,
    weight_bytes=2**32,
    context_tokens=131_072,
    kv_bytes_per_token=131_072,
    vocab_size=200_064,
    publisher="Microsoft",
    license="MIT",
    fingerprint="f",
    content="c",
    evidence={"context_tokens": "default"},
)

# Every field has a value of its own.
MEASURED = Measurement(
    model_id=RICH.id,
    content=RICH.content,
    device=Device.GPU,
    threads=3,
    measured_s=100.5,
    loads=2,
    load_s=1.25,
    resident_bytes=2**33,
    peak_bytes=2**34,
    context_tokens=4096,
    answers=7,
    tokens_per_second=12.5,
    prompt_tokens_per_second=250.5,
    ttft_s=0.5,
    prompt_tokens=700.5,
    completion_tokens=90.5,
)
PROVEN = EngineProof(
    model_id=RICH.id, content=RICH.content, runtime="onnxruntime 1.31.1", is_proven=True, proven_s=150.5
)
TUNED = Tuning(
    model_id=RICH.id,
    content=RICH.content,
    runtime="onnxruntime 1.31.1",
    machine="A processor, 4 cores",
    threads=3,
    prefill_chunk_tokens=None,
    max_concurrent=6,
    tuned_s=170.5,
)
SAID = Evaluation(
    model_id=RICH.id,
    content=RICH.content,
    task=Task.CODE,
    kind=EvaluationKind.RATING,
    score=0.75,
    items=1,
    evaluated_s=200.5,
    is_thinking=True,
    notes="good at ü, \ud800 and 'quotes'",
)


def variant(name: str, version: str = "1", **fields: Any) -> Model:
    """Another model of its family, in a folder and with a content of its own."""
    own = {"path": Path("/r") / f"{name}-{version}", "content": f"{name} {version}", **fields}
    return replace(RICH, name=name, version=version, problems=(), **own)


def report(*models: Model, problems: tuple[FolderProblem, ...] = ()) -> ScanReport:
    """Of a scan of everything."""
    return ScanReport(models, problems, (Path("/r"),), 0.1)
