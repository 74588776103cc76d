"""``read_model_folder``: one folder in, one Model out, or InvalidModelFolder with a code and what to do.

Everything is read from files, nothing is loaded: genai_config.json, Foundry's files, templates, and the ONNX graph's
own description. What is missing but not needed becomes a Problem of the model; each guess is noted in
``Model.evidence``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from registry.documents import unreadable
from registry.errors import InvalidModelFolder
from registry.families import family_of, is_encoder, is_transcriber, is_translator
from registry.foundry import INFERENCE_MODEL_FILE, Catalog, CatalogEntry, InferenceModel, read_inference_model
from registry.genai_config import FILE_NAME as GENAI_CONFIG_FILE
from registry.genai_config import GenaiConfig, default_device, read_genai_config
from registry.hub import HubRevision
from registry.listing import DOWNLOAD_MARKER, FileStat, fingerprint, is_partial_name, list_files, total_bytes
from registry.model import Device, ExecutionProvider, Model, Precision, Problem, Source, Task
from registry.naming import Identity, declared_identity, folder_identity
from registry.problems import ProblemCode
from registry.template import read_chat_template
from registry.weights import Weights, read_weights

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_TEXT_TASKS = (Task.CHAT, Task.CODE, Task.REASONING, Task.MATH)
_DEFAULT_CONTEXT_TOKENS = 2048
_FP32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a folder's meaning depends on beside its own files.

    ``root`` bounds the search for a name; ``is_downloading`` is true below a folder that has a ``download.tmp``.
    """

    root: Path
    source: Source
    catalog: Catalog = field(default_factory=Catalog)
    is_downloading: bool = False
    hub: HubRevision | None = None
    allowed_libraries: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Notes:
    """What is collected along the way."""

    problems: list[Problem] = field(default_factory=list)
    evidence: dict[str, str] = field(default_factory=dict)

    def guessed(self, field_name: str, how: str) -> None:
        self.evidence[field_name] = how

    def add(self, code: ProblemCode, message: str, file: str | None = None) -> None:
        self.problems.append(Problem(str(code), message, file))


def read_model_folder(path: Path, surroundings: Surroundings, files: tuple[FileStat, ...] | None = None) -> Model:
    """The model in ``path``; ``files`` saves listing it again. Raises InvalidModelFolder and nothing else."""
    try:
        return _read(path, surroundings, list_files(path) if files is None else files)
    except OSError as error:
        raise unreadable(path, error) from error


def _read(path: Path, surroundings: Surroundings, files: tuple[FileStat, ...]) -> Model:
    _require_whole(files, surroundings)
    config = read_genai_config(path)
    notes = _Notes()
    weights = read_weights(path, config.graphs)
    declared = _inference_model(path, files, notes)
    identity = _identity(path, surroundings.root, declared, notes)
    entry = surroundings.catalog.find(identity.name, identity.version)
    provider, device = _provider(config, identity, notes)
    return Model(
        name=identity.name,
        version=identity.version,
        alias=(entry.alias if entry else None) or identity.alias,
        path=path,
        source=surroundings.source,
        tasks=_tasks(path, config, declared, entry, notes),
        family=family_of(config.model_type),
        model_type=config.model_type,
        parameters=sum(graph.parameters for graph in weights.graphs) or None,
        precision=weights.main.precision,
        accuracy_level=weights.main.accuracy_level,
        execution_provider=provider,
        device=device,
        size_bytes=total_bytes(files),
        weight_bytes=weights.weight_bytes,
        context_tokens=_context_tokens(config, notes),
        kv_bytes_per_token=_kv_bytes_per_token(config, weights, notes),
        vocab_size=config.vocab_size,
        publisher=entry.publisher if entry else None,
        license=entry.license if entry else None,
        fingerprint=model_fingerprint(fingerprint(files), entry),
        problems=tuple(notes.problems),
        evidence=notes.evidence,
    )


def model_fingerprint(files: str, entry: CatalogEntry | None) -> str:
    """That of the files, and after a dash that of what Foundry's catalog adds to them."""
    return f"{files}-{entry.digest}" if entry else files


def _require_whole(files: tuple[FileStat, ...], surroundings: Surroundings) -> None:
    names = {file.name for file in files}
    partial = next((name for name in sorted(names) if is_partial_name(name)), None)
    if partial or surroundings.is_downloading:
        raise InvalidModelFolder(
            ProblemCode.UNFINISHED,
            f"A download or copy has not finished ({partial or DOWNLOAD_MARKER} is there). Wait for it, or start it "
            "again; if the model is complete, delete that file.",
            file=partial,
        )
    if GENAI_CONFIG_FILE not in names:
        raise InvalidModelFolder(
            ProblemCode.GENAI_CONFIG_MISSING,
            f"There is no {GENAI_CONFIG_FILE}, which onnxruntime-genai needs. Copy it here, or convert the model again "
            "with the model builder.",
            file=GENAI_CONFIG_FILE,
        )
    if not any(name in names for name in _TOKENIZER_FILES):
        raise InvalidModelFolder(
            ProblemCode.TOKENIZER_MISSING,
            "There is no tokenizer.json. Copy the tokenizer files from the original model into the folder.",
            file=_TOKENIZER_FILES[0],
        )


def _inference_model(path: Path, files: tuple[FileStat, ...], notes: _Notes) -> InferenceModel | None:
    if not any(file.name == INFERENCE_MODEL_FILE for file in files):
        return None
    try:
        return read_inference_model(path)
    except InvalidModelFolder as error:
        notes.add(ProblemCode.INFERENCE_MODEL_INVALID, f"{error.message} Until then it is ignored.", error.file)
        return None


def _identity(path: Path, root: Path, declared: InferenceModel | None, notes: _Notes) -> Identity:
    identity = declared_identity(declared.name) if declared and declared.name else None
    if identity is None:
        if declared is not None:
            notes.add(
                ProblemCode.INFERENCE_MODEL_INVALID,
                f'{INFERENCE_MODEL_FILE} has no usable "Name", so the model is named after its folder. '
                'Write "Name": "name:version" into it.',
                INFERENCE_MODEL_FILE,
            )
        identity = folder_identity(path, root)
        notes.guessed("name", identity.source)
    return identity


def _provider(config: GenaiConfig, identity: Identity, notes: _Notes) -> tuple[ExecutionProvider, Device]:
    """The configuration decides; then the name; a model that says nothing runs on the CPU."""
    provider = config.execution_provider
    if provider is ExecutionProvider.UNKNOWN:
        notes.add(
            ProblemCode.UNKNOWN_EXECUTION_PROVIDER,
            f"{GENAI_CONFIG_FILE} asks for the execution provider {config.provider_name!r:.60}, which is unknown.",
            GENAI_CONFIG_FILE,
        )
    if provider is None:
        provider = identity.provider
        notes.guessed("execution_provider", "name" if provider else "default")
    provider = provider or ExecutionProvider.CPU
    return provider, identity.device or config.device or default_device(provider)


def _context_tokens(config: GenaiConfig, notes: _Notes) -> int:
    if not config.context_tokens:
        notes.guessed("context_tokens", "default")
    return config.context_tokens or _DEFAULT_CONTEXT_TOKENS


def _kv_bytes_per_token(config: GenaiConfig, weights: Weights, notes: _Notes) -> int:
    """Layers x 2 x key-value heads x head size x bytes of one element, whose type the graph's inputs say."""
    if config.kv_elements_per_token is None:
        notes.guessed("kv_bytes_per_token", "unknown")
        return 0
    element_bytes = next((graph.kv_element_bytes for graph in weights.graphs if graph.kv_element_bytes), None)
    if element_bytes is None:
        notes.guessed("kv_bytes_per_token", "type from the weights")
        element_bytes = 2 if weights.main.precision in (Precision.FP16, Precision.BF16) else _FP32_BYTES
    return config.kv_elements_per_token * element_bytes


def _tasks(
    path: Path, config: GenaiConfig, declared: InferenceModel | None, entry: CatalogEntry | None, notes: _Notes
) -> tuple[Task, ...]:
    """By evidence: what the configuration is made of and what the template can say."""
    if is_transcriber(config.model_type):
        return (Task.TRANSCRIPTION,)
    if is_encoder(config.model_type) or (entry is not None and entry.task == "embeddings"):
        return (Task.EMBEDDINGS,)
    if is_translator(config.model_type) or not config.has_decoder:
        notes.add(ProblemCode.NO_KNOWN_TASK, f"slmreg offers no task for models of type {config.model_type}.")
        return ()
    handles_tools = _template_handles_tools(path, declared, notes)
    if handles_tools is None:
        notes.add(
            ProblemCode.NO_CHAT_TEMPLATE,
            "There is no chat template, so the model cannot be asked anything. Copy chat_template.jinja or "
            "tokenizer_config.json from the original model, or write a PromptTemplate into inference_model.json.",
        )
        return ()
    more = ((Task.TOOLS, handles_tools), (Task.VISION, config.has_vision))
    return _TEXT_TASKS + tuple(task for task, has_it in more if has_it)


def _template_handles_tools(path: Path, declared: InferenceModel | None, notes: _Notes) -> bool | None:
    """None without any template. The tokenizer's own goes before PromptTemplate, which is wrong at times."""
    try:
        template = read_chat_template(path)
    except InvalidModelFolder as error:
        notes.add(ProblemCode.TOKENIZER_CONFIG_INVALID, error.message, error.file)
        template = None
    if template is not None:
        return template.handles_tools
    if declared is not None and declared.has_template:
        notes.guessed("tasks", "PromptTemplate in inference_model.json")
        return declared.has_tools
    return None
