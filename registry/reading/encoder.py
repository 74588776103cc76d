"""A text encoder that was exported for onnxruntime alone: what its own files say, in the place of genai_config.json."""

from __future__ import annotations

from registry.errors import InvalidModelFolder
from registry.files.documents import Fields
from registry.layouts.encoder import ENCODER_TOKENIZER_FILE, find_encoder_graph
from registry.layouts.kinds import TRANSFORMERS_CONFIG_FILE
from registry.onnx.graph import GraphFacts, parse_graph
from registry.onnx.protobuf import MalformedProtobuf
from registry.problems import ProblemCode
from registry.reading.families import is_encoder
from registry.reading.genai_config import CacheShape, GenaiConfig
from registry.reading.reader import FolderReader

SENTENCE_CONFIG_FILE = "sentence_bert_config.json"
# What a graph gives that turns a text into one vector, and what one gives that writes.
VECTOR_OUTPUTS = frozenset(
    {"sentence_embedding", "sentence_embeddings", "pooler_output", "last_hidden_state", "hidden_states"}
)
LOGITS_OUTPUT = "logits"
_NEEDED_INPUTS = frozenset({"input_ids", "attention_mask"})
_TEXT_INPUTS = _NEEDED_INPUTS | {"token_type_ids", "position_ids"}
# Types whose table of positions begins after those of padding: two fewer can be used (transformers' modeling_roberta).
_PADDED_POSITIONS = ("roberta", "xlm-roberta", "xlm_roberta", "camembert", "mpnet")
_NO_CACHE = CacheShape(layers=0, heads=0, head_size=0, names=(), windowed_layers=0)


def plain_encoder(reader: FolderReader) -> GenaiConfig | None:
    """None for everything that is not clearly a text encoder. Raises InvalidModelFolder for one that is damaged."""
    graph = find_encoder_graph(reader.sizes)
    if graph is None or ENCODER_TOKENIZER_FILE not in reader or TRANSFORMERS_CONFIG_FILE not in reader:
        return None
    try:
        config = reader.json(TRANSFORMERS_CONFIG_FILE, ProblemCode.NOT_GENAI)
        model_type = config.text("model_type") or ""
    except InvalidModelFolder:
        return None  # a configuration of something else
    if not model_type or not model_type.isprintable() or len(model_type) > 100:
        return None
    facts = _facts(reader, graph, model_type)
    return _as_config(reader, config, model_type, graph) if facts is not None and _encodes(facts) else None


def _facts(reader: FolderReader, graph: str, model_type: str) -> GraphFacts | None:
    try:
        with reader.open(graph) as file:
            return parse_graph(file)
    except MalformedProtobuf as error:
        if not is_encoder(model_type):
            return None
        raise InvalidModelFolder(
            ProblemCode.GRAPH_INVALID,
            f"{graph} is not a whole ONNX model: {error}. Copy, download or convert the model again.",
            file=graph,
        ) from error


def _encodes(facts: GraphFacts) -> bool:
    inputs = {each.name for each in facts.inputs}
    outputs = set(facts.outputs)
    return inputs >= _NEEDED_INPUTS and inputs <= _TEXT_INPUTS and gives_vectors(outputs)


def gives_vectors(outputs: set[str]) -> bool:
    """Whether a graph with these outputs turns a text into vectors, and writes nothing."""
    return bool(outputs & VECTOR_OUTPUTS) and LOGITS_OUTPUT not in outputs


def _as_config(reader: FolderReader, config: Fields, model_type: str, graph: str) -> GenaiConfig:
    return GenaiConfig(
        model_type=model_type,
        context_tokens=_longest(reader, config, model_type),
        vocab_size=config.count("vocab_size"),
        max_length=None,
        graphs=(graph,),
        decoder_graphs=(graph,),
        drafter_graphs=(),
        adapters=(),
        weights=(),
        libraries=(),
        system_libraries=(),
        tokenizer_folder=None,
        has_decoder=False,
        has_encoder=True,
        has_vision=False,
        has_speech=False,
        is_paged=False,
        sliding_window=None,
        cache=_NO_CACHE,
        tool_tokens=None,
        reasoning_tokens=None,
        execution_provider=None,
        provider_name=None,
        device=None,
    )


def _longest(reader: FolderReader, config: Fields, model_type: str) -> int | None:
    """Tokens of the longest text: what it was trained for, which may be less than what its positions allow."""
    positions = config.count("max_position_embeddings")
    if positions and model_type in _PADDED_POSITIONS:
        positions = max(1, positions - 2)
    if SENTENCE_CONFIG_FILE not in reader:
        return positions
    try:
        trained = reader.json(SENTENCE_CONFIG_FILE, ProblemCode.NOT_GENAI).count("max_seq_length")
    except InvalidModelFolder:
        return positions
    return trained or positions
