"""``read_model_folder``: one folder in, one Model out, or InvalidModelFolder with a code and what to do.

Everything is read from files, nothing is loaded: genai_config.json, Foundry's files, templates, and the ONNX graph's
own description. A text encoder needs no genai_config.json: its own ``config.json`` and graph say as much. What is
missing but not needed becomes a Problem of the model; each guess is noted in ``Model.evidence``.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.documents import require_regular
from registry.files.inside import inside
from registry.files.listing import DOWNLOAD_MARKER, FileStat, fingerprint, is_partial_name, list_files
from registry.files.open_file import unreadable
from registry.layouts.foundry import INFERENCE_MODEL_FILE, Catalog, CatalogEntry, InferenceModel, read_inference_model
from registry.layouts.hub import HubRevision
from registry.layouts.kinds import GENAI_CONFIG_FILE
from registry.layouts.olive import read_olive
from registry.model import Model, Source
from registry.notes import Notes
from registry.problems import ProblemCode
from registry.reading.assemble import Parts, assemble
from registry.reading.content import belongs_to_model
from registry.reading.custom_ops import first_library
from registry.reading.encoder import plain_encoder
from registry.reading.genai_config import GenaiConfig, parse_genai_config
from registry.reading.identify import identify
from registry.reading.reader import FolderReader
from registry.reading.tasks import Evidence, abilities
from registry.reading.template import read_tokenizer
from registry.reading.weights import read_weights

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
# In a model package: a folder named after the digest of its content, which several variants share.
_SHARED_ASSET = "sha256:"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a folder's meaning depends on beside its own files.

    ``root`` bounds the search for a name; ``is_downloading`` is true below a folder that has a ``download.tmp``.
    ``allowed_libraries`` are SHA-256 digests. ``roots`` are all folders that links may lead to; empty: anywhere.
    """

    root: Path
    source: Source
    catalog: Catalog = field(default_factory=Catalog)
    is_downloading: bool = False
    hub: HubRevision | None = None
    allowed_libraries: frozenset[str] = frozenset()
    roots: frozenset[Path] = frozenset()


def read_model_folder(path: Path, surroundings: Surroundings, files: tuple[FileStat, ...] | None = None) -> Model:
    """The model in ``path``; ``files`` saves listing it again. Raises InvalidModelFolder and nothing else.

    A model with native libraries of its own that are not allowed is BLOCKED.
    """
    try:
        return _read(path, surroundings, list_files(path) if files is None else files)
    except OSError as error:
        raise unreadable(path, error) from error


def _read(path: Path, surroundings: Surroundings, files: tuple[FileStat, ...]) -> Model:
    reader = FolderReader(path, files, _link_places(surroundings))
    encoder = plain_encoder(reader) if GENAI_CONFIG_FILE not in reader else None
    _require_whole(reader, surroundings, is_encoder=encoder is not None)
    reader.require_links_inside(filter(belongs_to_model, reader.sizes))
    config = encoder or _genai_config(reader)
    _require_tokenizer(reader, config)
    notes = Notes()
    library = first_library(reader, config.libraries, config.system_libraries, surroundings.allowed_libraries, notes)
    weights = read_weights(reader, config)
    declared = _inference_model(reader, notes)
    olive = read_olive(path, surroundings.root, notes)
    identity = identify(path, surroundings.root, surroundings.hub, declared=declared, olive=olive, notes=notes)
    entry = surroundings.catalog.find(identity.name, identity.version)
    tokenizer = read_tokenizer(reader, notes, _tokenizer_prefix(config))
    decoder_graphs = tuple(weights.graphs[name] for name in config.decoder_graphs if name in weights.graphs)
    able = abilities(Evidence(config, decoder_graphs, tokenizer, declared, entry), notes)
    return assemble(
        Parts(
            reader=reader,
            source=surroundings.source,
            config=config,
            weights=weights,
            decoder_graphs=decoder_graphs,
            identity=identity,
            entry=entry,
            olive=olive,
            library=library,
            able=able,
            refs=surroundings.hub.refs if surroundings.hub else (),
            fingerprint=model_fingerprint(fingerprint(files), entry),
            notes=notes,
        )
    )


def model_fingerprint(files: str, entry: CatalogEntry | None) -> str:
    """That of the files, and after a dash that of what Foundry's catalog adds to them."""
    return f"{files}-{entry.digest}" if entry else files


def _link_places(surroundings: Surroundings) -> frozenset[Path]:
    hub = surroundings.hub
    return surroundings.roots | {hub.path} if hub and surroundings.roots else surroundings.roots


def is_plain_encoder(path: Path, files: tuple[FileStat, ...]) -> bool:
    """Whether ``path``, which has no genai_config.json, is for ``read_model_folder`` nevertheless."""
    try:
        return plain_encoder(FolderReader(path, files)) is not None
    except InvalidModelFolder:
        return True  # a damaged one, which ``read_model_folder`` explains


def _require_whole(reader: FolderReader, surroundings: Surroundings, *, is_encoder: bool) -> None:
    partial = min((name for name in reader.sizes if is_partial_name(name)), default=None)
    if partial or surroundings.is_downloading:
        raise InvalidModelFolder(
            ProblemCode.UNFINISHED,
            f"A download or copy has not finished ({partial or DOWNLOAD_MARKER} is there). Wait for it, or start it "
            "again; if the model is complete, delete that file.",
            file=partial,
        )
    if GENAI_CONFIG_FILE not in reader and not is_encoder:
        raise InvalidModelFolder(
            ProblemCode.GENAI_CONFIG_MISSING,
            f"There is no {GENAI_CONFIG_FILE}, which onnxruntime-genai needs. Copy it here, or convert the model again "
            "with the model builder.",
            file=GENAI_CONFIG_FILE,
        )


def _genai_config(reader: FolderReader) -> GenaiConfig:
    code = ProblemCode.GENAI_CONFIG_INVALID
    # Of a key that stands twice, onnxruntime-genai merges both objects, and what is looked at here would be the last.
    document = reader.json(GENAI_CONFIG_FILE, code, keys_once=True)
    if reader.content(GENAI_CONFIG_FILE, code).startswith(BOM_UTF8):
        # Other files may have one; onnxruntime-genai 0.18 cannot read this one with it.
        raise InvalidModelFolder(
            code,
            f"{GENAI_CONFIG_FILE} begins with a byte order mark, which onnxruntime-genai cannot read. Save it as UTF-8 "
            "without BOM.",
            file=GENAI_CONFIG_FILE,
        )
    return parse_genai_config(document)


def _tokenizer_prefix(config: GenaiConfig) -> str:
    """Where the tokenizer's files are, as the beginning of their names."""
    if config.tokenizer_folder is None or config.tokenizer_folder.startswith(_SHARED_ASSET):
        return ""
    folder = inside(config.tokenizer_folder, named_by=GENAI_CONFIG_FILE)
    return f"{folder}/" if folder else ""


def _require_tokenizer(reader: FolderReader, config: GenaiConfig) -> None:
    prefix = _tokenizer_prefix(config)
    found = next((prefix + name for name in _TOKENIZER_FILES if prefix + name in reader), None)
    if found is not None:
        require_regular(reader.folder / found)
        return
    if config.tokenizer_folder is not None and config.tokenizer_folder.startswith(_SHARED_ASSET):
        raise InvalidModelFolder(
            ProblemCode.TOKENIZER_MISSING,
            "The tokenizer is shared between the variants of a model package, where this folder alone cannot reach it. "
            f"Copy its files beside {GENAI_CONFIG_FILE}, and remove tokenizer_dir there.",
            file=GENAI_CONFIG_FILE,
        )
    raise InvalidModelFolder(
        ProblemCode.TOKENIZER_MISSING,
        "There is no tokenizer.json. Copy the tokenizer files from the original model into the folder.",
        file=prefix + _TOKENIZER_FILES[0],
    )


def _inference_model(reader: FolderReader, notes: Notes) -> InferenceModel | None:
    if INFERENCE_MODEL_FILE not in reader:
        return None
    try:
        return read_inference_model(reader.folder)
    except InvalidModelFolder as error:
        notes.add(ProblemCode.INFERENCE_MODEL_INVALID, f"{error.message} Until then it is ignored.", error.file)
        return None
