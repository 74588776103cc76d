"""The frozen values that every floor shares: a model, what it can do, and what is wrong with a folder.

Nothing here touches the disk or the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Task(StrEnum):
    """What an app wants done. The names are the contract of the CLI and the HTTP API."""

    CHAT = "chat"
    CODE = "code"
    REASONING = "reasoning"
    MATH = "math"
    TOOLS = "tools"
    VISION = "vision"
    TRANSCRIPTION = "transcription"
    EMBEDDINGS = "embeddings"


class ExecutionProvider(StrEnum):
    """ONNX Runtime's execution providers, by the short name onnxruntime-genai and Foundry ids use."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT_RTX = "trtrtx"
    DIRECTML = "dml"
    WEBGPU = "webgpu"
    OPENVINO = "openvino"
    QNN = "qnn"
    VITIS_AI = "vitisai"
    MIGRAPHX = "migraphx"
    UNKNOWN = "unknown"


class Device(StrEnum):
    CPU = "cpu"
    GPU = "gpu"
    NPU = "npu"


class Precision(StrEnum):
    """Type of the large weight matrices."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    INT4 = "int4"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """READY can be loaded; PARTIAL is unfinished; INVALID is broken; MISSING was here before; BLOCKED is refused."""

    READY = "ready"
    PARTIAL = "partial"
    INVALID = "invalid"
    MISSING = "missing"
    BLOCKED = "blocked"


class Source(StrEnum):
    """Where a root comes from."""

    FOUNDRY = "foundry"
    FOLDER = "folder"
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to know about a model; ``file`` is relative to the model's folder."""

    code: str
    message: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class FolderProblem:
    """A folder that is not a usable model, and what to do about it. ``status`` is PARTIAL, INVALID or BLOCKED."""

    path: Path
    code: str
    message: str
    file: str | None = None
    status: Status = Status.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One loadable model folder.

    ``id`` is ``name:version``, unique in a registry. ``alias`` is the family name that the hardware variants of one
    model share. ``tasks`` is what the folder gives evidence for (configuration, processors, chat template), not what
    the name promises. ``evidence`` says for each field that was guessed how it was guessed; a field that is not in it
    was read from the files.

    Units: ``size_bytes`` is every file of the folder; ``weight_bytes`` only the graphs that get loaded with their
    external data; ``kv_bytes_per_token`` is one sequence's key and value cache over all layers; ``context_tokens`` is
    what the model was built for (prompt and answer together).
    """

    name: str
    version: str
    alias: str
    path: Path
    source: Source
    status: Status = Status.READY
    problems: tuple[Problem, ...] = ()
    tasks: tuple[Task, ...] = ()
    family: str = "unknown"
    model_type: str = "unknown"
    parameters: int | None = None
    precision: Precision = Precision.UNKNOWN
    accuracy_level: int | None = None
    execution_provider: ExecutionProvider = ExecutionProvider.CPU
    device: Device = Device.CPU
    size_bytes: int = 0
    weight_bytes: int = 0
    context_tokens: int = 2048
    kv_bytes_per_token: int = 0
    vocab_size: int | None = None
    publisher: str | None = None
    license: str | None = None
    fingerprint: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def is_demo(self) -> bool:
        """True for the small model that ships with slmreg, which is only used where there is no other."""
        return self.source is Source.DEMO


@dataclass(frozen=True, slots=True)
class Root:
    """A folder under which models are looked for. ``exists`` is False for one that is not there at the moment."""

    path: Path
    source: Source
    exists: bool = True
    added_by_user: bool = False


@dataclass(frozen=True, slots=True)
class Pin:
    """A person's choice: this model, and no other, for this task."""

    task: Task
    model_id: str


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What one scan of some roots found; ``seconds`` is wall time.

    ``covered`` are the folders that were fully walked: a known model under one of them that is not in ``models`` or
    ``problems`` is gone.
    """

    models: tuple[Model, ...]
    problems: tuple[FolderProblem, ...]
    covered: tuple[Path, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Changes:
    """What a scan changed in the registry, by model id, and the problems that stand now."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    problems: tuple[FolderProblem, ...] = ()
    seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.updated or self.missing)
