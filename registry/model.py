"""The frozen values that every floor shares: a model, what it can do, and what is wrong with a folder.

Nothing here touches the disk or the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


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
    HUGGING_FACE = "huggingface"
    FOLDER = "folder"
    DEMO = "demo"


class Modality(StrEnum):
    """What a model takes in."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


@dataclass(frozen=True, slots=True)
class Markers:
    """The texts that a model puts around something in its answer: tool calls, or its reasoning."""

    start: str
    end: str


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
    the name promises. ``chat_template`` says where the template is that makes a prompt of a chat: the name of a file,
    or "family default: " and a format, where the model has none of its own. ``has_thinking_switch``: its chat template
    lets a request say whether it reasons first. ``languages`` are those that its model card names, as ISO 639-1 codes;
    () where there is no card. ``evidence`` says for each field that was guessed how it was guessed; a field that is
    not in it was read from the files.

    Units: ``size_bytes`` is every file of the folder; ``weight_bytes`` only the graphs that get loaded with their
    external data; ``kv_bytes_per_token`` is one sequence's key and value cache over all layers; ``context_tokens`` is
    what the model was built for (prompt and answer together), ``max_length`` what its configuration asks the engine to
    reserve, ``max_output_tokens`` what a catalog allows for one answer.

    ``parameters`` counts all weights, ``active_parameters`` those of a mixture of experts that one token uses.
    ``sliding_window`` is in tokens. ``adapters`` are LoRA adapter files beside the model. ``refs`` are the names by
    which a Hugging Face cache points at this revision (``main``).

    ``fingerprint`` changes when a file is written (names, sizes, times); ``content`` only when what is in the files
    changes, so that two copies of one model have the same. What only the registry knows: ``locations``, other folders
    with the same model; ``revision``, counted up when the content of a known model changes; ``missing_since_s`` (Unix
    time) of one that is gone; ``verified_s`` (Unix time) of the last full check that still holds.
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
    active_parameters: int | None = None
    precision: Precision = Precision.UNKNOWN
    block_size: int | None = None
    accuracy_level: int | None = None
    execution_provider: ExecutionProvider = ExecutionProvider.CPU
    device: Device = Device.CPU
    size_bytes: int = 0
    weight_bytes: int = 0
    context_tokens: int = 2048
    max_length: int | None = None
    max_output_tokens: int | None = None
    sliding_window: int | None = None
    kv_bytes_per_token: int = 0
    kv_precision: Precision = Precision.UNKNOWN
    vocab_size: int | None = None
    modalities: tuple[Modality, ...] = (Modality.TEXT,)
    has_chat_template: bool = False
    chat_template: str | None = None
    can_reason: bool = False
    has_thinking_switch: bool = False
    languages: tuple[str, ...] = ()
    tool_markers: Markers | None = None
    reasoning_markers: Markers | None = None
    adapters: tuple[str, ...] = ()
    is_paged: bool = False
    custom_ops_library: str | None = None
    publisher: str | None = None
    license: str | None = None
    refs: tuple[str, ...] = ()
    fingerprint: str = ""
    content: str = ""
    locations: tuple[Path, ...] = ()
    revision: int = 1
    missing_since_s: float | None = None
    verified_s: float | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def is_demo(self) -> bool:
        """True for the small model that ships with slmreg, which is only used where there is no other."""
        return self.source is Source.DEMO


@dataclass(frozen=True, slots=True)
class RootChoice:
    """What a person decided about a root: one they added, or one found by itself that they switched off or tuned.

    ``settle_s``: how long its folders have to be still until they count; None is the setting for all roots.
    """

    path: Path
    is_added: bool = True
    is_enabled: bool = True
    settle_s: float | None = None


@dataclass(frozen=True, slots=True)
class Root:
    """A folder under which models are looked for.

    ``exists`` is False for one that is not there at the moment; one that is not ``is_enabled`` is only listed.
    """

    path: Path
    source: Source
    exists: bool = True
    added_by_user: bool = False
    is_enabled: bool = True
    settle_s: float | None = None


class Fallback(StrEnum):
    """What a pin wants when its model cannot serve: an error, or that slmreg chooses and says so."""

    ERROR = "error"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Pin:
    """A person's choice: this model, and no other, for this task.

    ``is_waiting``: no such model was here yet; ``model_id`` is then the name, alias, id or pattern that is waited for.
    ``pattern``: the glob that this pin follows, as the person wrote it; ``model_id`` is what it means now.
    """

    task: Task
    model_id: str
    is_waiting: bool = False
    pattern: str | None = None
    fallback: Fallback = Fallback.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A name that a person gave to a model together with a way to use it.

    ``base`` is what stands for the model, as a request would name it. ``system`` and ``messages`` (each with ``role``
    and ``content``) go in front of every chat, ``parameters`` count where a request says nothing; what they are called
    and may be is not for the registry to know. ``modified_s`` is Unix time.
    """

    name: str
    base: str
    system: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()
    modified_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hint:
    """One entry of a ``models.json``: what somebody wrote about a model, which need not be here.

    ``more`` are the keys that slmreg does not know, kept as they were.
    """

    name: str
    task: str | None = None
    min_ram_gb: float | None = None
    notes: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


class KeyScope(StrEnum):
    """What a key lets its holder do: ask and read, or also change what the daemon does and knows."""

    USE = "use"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One that lets somebody in; the key itself is not kept, only its SHA-256, in hexadecimal digits.

    ``scope`` None: one that only a newer slmreg knows, which lets nobody do anything here. ``created_s`` is Unix time.
    """

    name: str
    scope: KeyScope | None
    sha256: str
    created_s: float


@dataclass(frozen=True, slots=True)
class Verification:
    """A full check of one model's files. It holds for as long as the model has this ``fingerprint``.

    ``digests`` are SHA-256 in hexadecimal by file name, relative to the model's folder; with ``problems`` the model is
    not to be loaded.
    """

    fingerprint: str
    verified_s: float
    digests: Mapping[str, str]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What one scan of some roots found; ``seconds`` is wall time.

    ``models`` were read; ``unchanged`` are known folders whose files are as they were, and were only listed.
    ``covered`` are the folders that were fully walked: a known model under one of them that is not in ``models``,
    ``unchanged`` or ``problems`` is gone.
    """

    models: tuple[Model, ...]
    problems: tuple[FolderProblem, ...]
    covered: tuple[Path, ...]
    seconds: float
    unchanged: frozenset[Path] = frozenset()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a scan changed in the registry, by model id, and the ``problems`` that it saw.

    ``unchanged`` is a number. ``found`` are problems that did not stand before, ``solved`` those that stand no more.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unchanged: int = 0
    problems: tuple[FolderProblem, ...] = ()
    found: tuple[FolderProblem, ...] = ()
    solved: tuple[FolderProblem, ...] = ()
    seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.updated or self.missing or self.found or self.solved)
