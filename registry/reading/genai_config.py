"""``genai_config.json``: the one file that every onnxruntime-genai model has, read into a frozen value.

Keys as onnxruntime-genai 0.18 writes and reads them. Which parts a model is made of differs from type to type
(decoder, encoder, vision, speech, joiner, moonshine, drafters ...), so the files are looked for in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from registry.errors import InvalidModelFolder
from registry.files.documents import Fields
from registry.files.inside import inside
from registry.layouts.adapters import ADAPTER_SUFFIX
from registry.layouts.kinds import GENAI_CONFIG_FILE
from registry.layouts.providers import default_device, execution_provider
from registry.model import Device, ExecutionProvider
from registry.problems import ProblemCode

_MAX_DEPTH = 8  # model.decoder.pipeline[0].stage.session_options.provider_options[0].cuda is seven
# Graphs that guess ahead for the decoder: their weights are loaded, but they are not the model's own.
_DRAFTERS = ("mtp", "dflash2", "dspark", "draft")
# The kinds of layers that keep a key and a value of every token; the others keep a state of fixed size.
_ATTENTION_LAYERS = ("full_attention", "sliding_attention")
_ATTENTION_GROUP = "paged_kv"
# Options that name a library of native code; that of QNN is usually a bare name, found in the system's own folders.
_LIBRARY_OPTIONS = ("custom_ops_library", "library_path")
_SYSTEM_LIBRARY_OPTION = "backend_path"
_CACHE_NAMES = ("past_key_names", "past_value_names", "past_names", "past_key_scale_names", "past_value_scale_names")
_DEFAULT_CACHE_NAMES = ("past_key_values.%d.key", "past_key_values.%d.value")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheShape:
    """What the configuration says of the key-value cache: None where it does not.

    ``layers`` are those that keep every token. ``names`` are the decoder's cache inputs, with ``%d`` for the layer.
    ``windowed_layers`` of them forget what is further back than the sliding window.
    """

    layers: int | None
    heads: int | None
    head_size: int | None
    names: tuple[str, ...]
    windowed_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenaiConfig:
    """``execution_provider`` is None where no provider is asked for, which onnxruntime-genai runs on the CPU.

    ``graphs`` are all ONNX files, ``decoder_graphs`` those of the decoder, ``drafter_graphs`` those that only guess
    ahead: names relative to the folder, none of which leaves it. ``libraries`` are native libraries that loading the
    model would run, as they are named; ``system_libraries`` those for which the system's folders are searched too.
    ``tool_tokens`` and ``reasoning_tokens`` are the ids of the tokens that begin and end a tool call or a thought.
    """

    model_type: str
    context_tokens: int | None
    vocab_size: int | None
    max_length: int | None
    graphs: tuple[str, ...]
    decoder_graphs: tuple[str, ...]
    drafter_graphs: tuple[str, ...]
    adapters: tuple[str, ...]
    weights: tuple[str, ...]
    libraries: tuple[str, ...]
    system_libraries: tuple[str, ...]
    tokenizer_folder: str | None
    has_decoder: bool
    has_encoder: bool
    has_vision: bool
    has_speech: bool
    is_paged: bool
    sliding_window: int | None
    cache: CacheShape
    tool_tokens: tuple[int, int] | None
    reasoning_tokens: tuple[int, int] | None
    execution_provider: ExecutionProvider | None
    provider_name: str | None
    device: Device | None


def parse_genai_config(document: Fields) -> GenaiConfig:
    """Raises InvalidModelFolder."""
    model = document.child("model")
    if not model:
        raise document.invalid("model", "the object that describes the model")
    decoder = model.child("decoder")
    found = _Found()
    found.look_through(model, 0)
    asked = _provider(decoder)
    provider = execution_provider(asked[0]) if asked else None
    return GenaiConfig(
        model_type=_model_type(model),
        context_tokens=model.count("context_length"),
        vocab_size=model.count("vocab_size"),
        max_length=document.child("search").count("max_length") or None,
        graphs=_required(found.graphs),
        decoder_graphs=tuple(dict.fromkeys(_files_of(decoder))),
        drafter_graphs=tuple(dict.fromkeys(name for key in _DRAFTERS for name in _files_of(model.child(key)))),
        adapters=tuple(dict.fromkeys(found.adapters)),
        weights=tuple(dict.fromkeys(found.weights)),
        libraries=tuple(dict.fromkeys(found.libraries)),
        system_libraries=tuple(dict.fromkeys(found.system_libraries)),
        tokenizer_folder=model.text("tokenizer_dir") or None,
        has_decoder=bool(decoder) or "moonshine" in model,
        has_encoder=bool(model.child("encoder")),
        has_vision=bool(model.child("vision")),
        has_speech=bool(model.child("speech")) or bool(model.child("audio")),
        is_paged=bool(document.child("engine").child("dynamic_batching")),
        sliding_window=decoder.child("sliding_window").count("window_size") or None,
        cache=_cache_shape(decoder),
        tool_tokens=_token_pair(model, "bot_token_id", "eot_token_id"),
        reasoning_tokens=_token_pair(model, "bor_token_id", "eor_token_id"),
        execution_provider=provider,
        provider_name=asked[0] if asked else None,
        device=_device(provider, asked[1]) if provider and asked else None,
    )


@dataclass(slots=True)
class _Found:
    """The files that any part of the model names."""

    graphs: list[str] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    system_libraries: list[str] = field(default_factory=list)

    def look_through(self, part: Fields, depth: int) -> None:
        if depth > _MAX_DEPTH or part.raw("enabled") is False:
            return
        for key in part:
            value = part.raw(key)
            if isinstance(value, dict):
                self.look_through(part.child(key), depth + 1)
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                for child in part.children(key):
                    self.look_through(child, depth + 1)
            elif key == "filename" or key.endswith("_filename"):
                self._file(part.text(key))
            elif key == "data_file":
                self.weights.append(inside(part.text(key) or "", named_by=GENAI_CONFIG_FILE))
            elif key in _LIBRARY_OPTIONS and value is not None:
                self.libraries.append(part.text(key) or "")
            elif key == _SYSTEM_LIBRARY_OPTION and value is not None:
                self.system_libraries.append(part.text(key) or "")

    def _file(self, name: str | None) -> None:
        if name is None or not name or name.endswith(".json"):
            return
        (self.adapters if name.endswith(ADAPTER_SUFFIX) else self.graphs).append(
            inside(name, named_by=GENAI_CONFIG_FILE)
        )


def _required(graphs: list[str]) -> tuple[str, ...]:
    if not graphs:
        raise InvalidModelFolder(
            ProblemCode.GENAI_CONFIG_INVALID,
            f"{GENAI_CONFIG_FILE} names no ONNX file (model.decoder.filename). Convert or download the model again.",
            file=GENAI_CONFIG_FILE,
        )
    return tuple(dict.fromkeys(graphs))


def _model_type(model: Fields) -> str:
    model_type = model.text("type")
    if not model_type or not model_type.isprintable() or len(model_type) > 100:
        raise model.invalid("type", "the name of a model type, such as qwen2")
    return model_type


def _files_of(part: Fields) -> Iterator[str]:
    """The graphs of one part: its own, and those of the stages of its pipeline."""
    named = [part.text("filename"), *(stage.text("filename") for stage in _stages(part))]
    return (inside(name, named_by=GENAI_CONFIG_FILE) for name in named if name)


def _stages(part: Fields) -> list[Fields]:
    """The stages of a pipeline, each under its own name: in a list of objects, or in one object. Some have no name."""
    holders = [part.child("pipeline")] if isinstance(part.raw("pipeline"), dict) else part.children("pipeline")
    stages = []
    for holder in holders:
        named = [holder.child(key) for key in holder if isinstance(holder.raw(key), dict)]
        stages.extend([holder] if "filename" in holder else named)
    return stages


def _cache_shape(decoder: Fields) -> CacheShape:
    inputs = decoder.child("inputs")
    names = [inputs.text(key) for key in _CACHE_NAMES]
    layers, heads = decoder.count("num_hidden_layers"), decoder.count("num_key_value_heads")
    heads = heads or decoder.count("num_attention_heads")
    head_size = decoder.count("head_size")
    if (layers or 0) * (heads or 0) * (head_size or 0) > 2**40:
        raise decoder.invalid("num_hidden_layers", "a number of layers that a machine can hold")
    windowed = decoder.child("sliding_window").raw("layers")
    return CacheShape(
        layers=_attention_layers(decoder, layers),
        heads=heads,
        head_size=head_size,
        names=tuple(name for name in names if name) or _DEFAULT_CACHE_NAMES,
        windowed_layers=len(windowed) if isinstance(windowed, list) else 0,
    )


def _attention_layers(decoder: Fields, layers: int | None) -> int | None:
    """How many layers keep every token; a hybrid model says which these are in one of two ways."""
    types = decoder.raw("layer_types")
    if isinstance(types, list) and types:
        return sum(kind in _ATTENTION_LAYERS for kind in types if isinstance(kind, str))
    for group in decoder.children("state_groups"):
        ids = group.raw("layer_ids")
        if group.raw("kind") == _ATTENTION_GROUP and isinstance(ids, list):
            return len(ids)
    return layers


def _token_pair(model: Fields, start: str, end: str) -> tuple[int, int] | None:
    first, last = model.raw(start), model.raw(end)
    return (first, last) if isinstance(first, int) and isinstance(last, int) else None


def _provider(decoder: Fields) -> tuple[str, Fields] | None:
    """The first provider that the decoder asks for, else the first of a stage that is not the CPU; and its options."""
    asked = _providers(decoder) or [
        each for stage in _stages(decoder) for each in _providers(stage) if each[0].lower() != "cpu"
    ]
    return asked[0] if asked else None


def _providers(part: Fields) -> list[tuple[str, Fields]]:
    entries = part.child("session_options").children("provider_options")
    return [(name, entry.child(name)) for entry in entries for name in entry]


def _device(provider: ExecutionProvider, options: Fields) -> Device:
    wanted = options.raw("device_type")
    if isinstance(wanted, str) and wanted.lower() in tuple(Device):
        return Device(wanted.lower())
    return default_device(provider)
