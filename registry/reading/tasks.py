"""What a model can be asked, and what it takes in: by evidence, never by its name."""

from __future__ import annotations

from dataclasses import dataclass

from registry.layouts.foundry import INFERENCE_MODEL_FILE, CatalogEntry, InferenceModel
from registry.model import Markers, Modality, Task
from registry.notes import Notes
from registry.onnx.graph import GraphFacts
from registry.problems import ProblemCode
from registry.reading.encoder import gives_vectors
from registry.reading.families import is_encoder, is_listener, is_transcriber, is_translator
from registry.reading.family_template import source_of
from registry.reading.genai_config import GenaiConfig
from registry.reading.template import TokenizerFacts

_TEXT_TASKS = (Task.CHAT, Task.CODE, Task.REASONING, Task.MATH)
_CATALOG_EMBEDDINGS = "embeddings"
_CATALOG = "Foundry's catalog"
_TEMPLATE = "chat template"
_TOKENS = "tokens named in genai_config.json"


@dataclass(frozen=True, slots=True)
class Abilities:
    """See the fields of ``registry.model.Model`` with these names."""

    tasks: tuple[Task, ...]
    modalities: tuple[Modality, ...]
    has_chat_template: bool = False
    chat_template: str | None = None
    can_reason: bool = False
    has_thinking_switch: bool = False
    tool_markers: Markers | None = None
    reasoning_markers: Markers | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that says something about what a model can do; None where there is no such thing."""

    config: GenaiConfig
    decoder_graphs: tuple[GraphFacts, ...]
    tokenizer: TokenizerFacts
    declared: InferenceModel | None
    entry: CatalogEntry | None


def abilities(evidence: Evidence, notes: Notes) -> Abilities:
    """Notes what was guessed, and why a model is of no use."""
    config = evidence.config
    if is_transcriber(config.model_type):
        return Abilities((Task.TRANSCRIPTION,), (Modality.AUDIO,))
    if _is_embedder(evidence, notes):
        return Abilities((Task.EMBEDDINGS,), (Modality.TEXT,))
    if is_translator(config.model_type) or not config.has_decoder:
        notes.add(ProblemCode.NO_KNOWN_TASK, f"slmreg offers no task for models of type {config.model_type}.")
        return Abilities((), (Modality.TEXT,))
    modalities = _modalities(config)
    handles_tools = _handles_tools(evidence, notes)
    if handles_tools is None:
        return _without_template(evidence.tokenizer.family, modalities, notes)
    more = ((Task.TOOLS, handles_tools), (Task.VISION, Modality.IMAGE in modalities))
    return Abilities(
        tasks=_TEXT_TASKS + tuple(task for task, has_it in more if has_it),
        modalities=modalities,
        has_chat_template=True,
        chat_template=evidence.tokenizer.source or INFERENCE_MODEL_FILE,
        can_reason=_can_reason(evidence, notes),
        has_thinking_switch=_has_thinking_switch(evidence, notes),
        tool_markers=_tool_markers(evidence, notes),
        reasoning_markers=_reasoning_markers(evidence, notes),
    )


def _without_template(family: str | None, modalities: tuple[Modality, ...], notes: Notes) -> Abilities:
    if family is None:
        notes.add(
            ProblemCode.NO_CHAT_TEMPLATE,
            "There is no chat template, so the model cannot be asked anything. Copy chat_template.jinja or "
            "tokenizer_config.json from the original model, or write a PromptTemplate into inference_model.json.",
        )
        return Abilities((), modalities)
    notes.add(
        ProblemCode.NO_CHAT_TEMPLATE,
        f"There is no chat template. By its special tokens the model was made for the format {family}, which is used. "
        "For all that it can do, copy chat_template.jinja from the original model.",
    )
    notes.guessed("tasks", "special tokens")
    return Abilities(_TEXT_TASKS, modalities, chat_template=source_of(family))


def _is_embedder(evidence: Evidence, notes: Notes) -> bool:
    config, entry = evidence.config, evidence.entry
    if is_encoder(config.model_type):
        return True
    if entry is not None and entry.task == _CATALOG_EMBEDDINGS:
        notes.guessed("tasks", _CATALOG)
        return True
    outputs = {name for graph in evidence.decoder_graphs for name in graph.outputs}
    if gives_vectors(outputs) and len(evidence.decoder_graphs) == 1:
        notes.guessed("tasks", "the graph gives a vector")
        return True
    return False


def _modalities(config: GenaiConfig) -> tuple[Modality, ...]:
    hears = config.has_speech or (is_listener(config.model_type) and config.has_encoder)
    more = ((Modality.IMAGE, config.has_vision), (Modality.AUDIO, hears))
    return (Modality.TEXT, *(modality for modality, takes_it in more if takes_it))


def _handles_tools(evidence: Evidence, notes: Notes) -> bool | None:
    """None without any template. The tokenizer's own goes before PromptTemplate, which is wrong at times."""
    template, declared = evidence.tokenizer.template, evidence.declared
    if template is not None:
        return template.handles_tools
    if declared is not None and declared.has_template:
        notes.guessed("tasks", "PromptTemplate in inference_model.json")
        return declared.has_tools
    return None


def _can_reason(evidence: Evidence, notes: Notes) -> bool:
    entry, template = evidence.entry, evidence.tokenizer.template
    if entry is not None and entry.supports_reasoning is not None:
        return entry.supports_reasoning
    for has_it, how in (
        (evidence.config.reasoning_tokens is not None, _TOKENS),
        (template is not None and template.handles_reasoning, _TEMPLATE),
    ):
        if has_it:
            notes.guessed("can_reason", how)
            return True
    return False


def _has_thinking_switch(evidence: Evidence, notes: Notes) -> bool:
    template = evidence.tokenizer.template
    if template is None or not template.has_thinking_switch:
        return False
    notes.guessed("has_thinking_switch", _TEMPLATE)
    return True


def _tool_markers(evidence: Evidence, notes: Notes) -> Markers | None:
    catalog = evidence.entry.tool_markers if evidence.entry else None
    template = evidence.tokenizer.template
    return _first(
        "tool_markers",
        catalog,
        _tokens(evidence.config.tool_tokens, evidence.tokenizer),
        template.tool_markers if template else None,
        notes,
    )


def _reasoning_markers(evidence: Evidence, notes: Notes) -> Markers | None:
    catalog = evidence.entry.reasoning_markers if evidence.entry else None
    template = evidence.tokenizer.template
    return _first(
        "reasoning_markers",
        catalog,
        _tokens(evidence.config.reasoning_tokens, evidence.tokenizer),
        template.reasoning_markers if template else None,
        notes,
    )


def _first(
    field_name: str, catalog: Markers | None, tokens: Markers | None, template: Markers | None, notes: Notes
) -> Markers | None:
    """What the makers of the model say goes before what the template lets one guess."""
    if catalog is not None or tokens is not None:
        return catalog or tokens
    if template is not None:
        notes.guessed(field_name, _TEMPLATE)
    return template


def _tokens(pair: tuple[int, int] | None, tokenizer: TokenizerFacts) -> Markers | None:
    if pair is None:
        return None
    start, end = (tokenizer.tokens.get(token) for token in pair)
    return Markers(start, end) if start and end else None
