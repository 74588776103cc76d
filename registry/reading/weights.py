"""The files that get loaded: every graph of a model and its external data, there, long enough, and not hollow."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from registry.errors import InvalidModelFolder
from registry.files.inside import inside
from registry.files.listing import exists
from registry.files.open_file import OpenFile
from registry.layouts.kinds import GENAI_CONFIG_FILE
from registry.onnx.graph import ExternalFile, GraphFacts, parse_graph
from registry.onnx.protobuf import MalformedProtobuf
from registry.problems import ProblemCode
from registry.reading.genai_config import GenaiConfig
from registry.reading.reader import SAMPLE_BYTES, SMALL_BYTES, TAIL_SAMPLES, FolderReader, sample_offsets

# Weights this near to each other are one range: the space between is alignment.
_ALIGNMENT_BYTES = 4096
# A quarter of the pages looked at, and more than one, is no accident: a quarter of the weights is lost.
_MIN_ZERO_PAGES = 2
_ZERO_SHARE = 4
_ZERO_PAGE = bytes(SAMPLE_BYTES)


@dataclass(frozen=True, slots=True)
class Weights:
    """``graphs`` by file name, in the order of the configuration. ``weight_bytes`` counts a file once, however often it
    is linked, and the two parameter counts a tensor once, however many graphs share it.
    """

    graphs: Mapping[str, GraphFacts]
    weight_bytes: int
    parameters: int
    idle_parameters: int

    @property
    def main(self) -> GraphFacts:
        """The graph with most parameters: the decoder, or a pipeline's largest stage."""
        return max(self.graphs.values(), key=lambda graph: graph.parameters)


def read_weights(reader: FolderReader, config: GenaiConfig) -> Weights:
    """Raises InvalidModelFolder."""
    files = _Files(reader)
    graphs = {name: files.graph(name) for name in config.graphs}
    for name in config.adapters:
        files.external(name, ExternalFile(), GENAI_CONFIG_FILE, missing=ProblemCode.GRAPH_MISSING)
    for name in config.weights:
        files.external(name, ExternalFile(), GENAI_CONFIG_FILE)
    for name, (data, needed_by) in _external_files(graphs).items():
        files.external(name, data, needed_by)
    own = [(name, facts) for name, facts in graphs.items() if name not in config.drafter_graphs]
    parameters, idle = _parameters(own)
    return Weights(graphs, sum(files.sizes.values()), parameters, idle)


def _external_files(graphs: Mapping[str, GraphFacts]) -> dict[str, tuple[ExternalFile, str]]:
    """By name, what all graphs together need of each weights file, and the graph that needs most."""
    found: dict[str, tuple[ExternalFile, str]] = {}
    for graph, facts in graphs.items():
        for location, data in facts.external.items():
            name = _beside(graph, location)
            known, needed_by = found.get(name, (ExternalFile(), graph))
            if data.end_bytes > known.end_bytes:
                needed_by = graph
            both = ExternalFile(max(known.end_bytes, data.end_bytes), [*known.dense, *data.dense])
            found[name] = (both, needed_by)
        for location in facts.compiled:
            found.setdefault(_beside(graph, location), (ExternalFile(), graph))
    return found


def _beside(graph: str, location: str) -> str:
    location = inside(location, named_by=graph)
    folder, slash, _ = graph.rpartition("/")
    return f"{folder}{slash}{location}"


def _parameters(graphs: Iterable[tuple[str, GraphFacts]]) -> tuple[int, int]:
    """All and idle parameters, those in external files by where they lie: the graphs of a pipeline share them."""
    total = idle = 0
    seen: dict[str, set[int]] = {}  # offsets by file
    for graph, facts in graphs:
        shared = 0
        for location, data in facts.external.items():
            offsets = seen.setdefault(_beside(graph, location), set())
            shared += sum(data.elements[offset] for offset in offsets & data.elements.keys())
            offsets.update(data.elements)
        own = facts.parameters - shared
        total += own
        idle += facts.idle_parameters * own // facts.parameters if facts.parameters else 0
    return total, idle


@dataclass(slots=True)
class _Files:
    """``sizes`` by what a file is, so that two links to one count once."""

    reader: FolderReader
    sizes: dict[tuple[int, int] | str, int] = field(default_factory=dict)

    def graph(self, name: str) -> GraphFacts:
        with self._open(name, ProblemCode.GRAPH_MISSING) as file:
            self.reader.samples(name, file)
            try:
                return parse_graph(file)
            except MalformedProtobuf as error:
                raise InvalidModelFolder(
                    ProblemCode.GRAPH_INVALID,
                    f"{name} is not a whole ONNX model: {error}. Copy, download or convert the model again.",
                    file=name,
                ) from error

    def external(
        self, name: str, data: ExternalFile, needed_by: str, *, missing: ProblemCode = ProblemCode.EXTERNAL_DATA_MISSING
    ) -> None:
        with self._open(name, missing) as file:
            if file.size_bytes < data.end_bytes:
                raise InvalidModelFolder(
                    ProblemCode.EXTERNAL_DATA_TOO_SHORT,
                    f"{name} has {file.size_bytes} bytes, and {needed_by} needs {data.end_bytes}. The copy or download "
                    "was cut short: copy or download the model again.",
                    file=name,
                )
            samples = self.reader.samples(name, file)
        if data.dense and _is_hollow(samples, file.size_bytes, data.dense):
            raise InvalidModelFolder(
                ProblemCode.EXTERNAL_DATA_ZEROED,
                f"{name} has the right size, but long stretches of it are zeros where weights should be. The copy or "
                "download was interrupted: copy or download the model again.",
                file=name,
            )

    def _open(self, name: str, missing: ProblemCode) -> OpenFile:
        """The file, open, its size noted. Raises InvalidModelFolder with the code ``missing`` if it is not there."""
        # What is not listed may still be there: in a linked folder, or under a name in other letters.
        if name not in self.reader and not exists(self.reader.folder / name):
            raise InvalidModelFolder(
                missing,
                f"{name} is not there, and the model needs it. Copy, download or convert the model again.",
                file=name,
            )
        file = self.reader.open(name)
        self.sizes[file.identity or name] = file.size_bytes
        return file


def _is_hollow(samples: Sequence[bytes], size_bytes: int, dense: Sequence[tuple[int, int]]) -> bool:
    """True if a quarter of the pages looked at, or all of those near the end, are zeros within ``dense`` ranges.

    What lies elsewhere does not count: zero points and biases may well be zero.
    """
    if size_bytes <= SMALL_BYTES:
        return not any(samples[0])
    ranges = _merged(dense)
    starts = [start for start, _ in ranges]
    pages: list[bool] = []
    tail: list[bool] = []
    first_of_tail = len(samples) - TAIL_SAMPLES
    for index, (offset, sample) in enumerate(zip(sample_offsets(size_bytes), samples, strict=True)):
        place = bisect_right(starts, offset) - 1
        if place >= 0 and offset + SAMPLE_BYTES <= ranges[place][1]:
            (pages if index < first_of_tail else tail).append(sample == _ZERO_PAGE)
    lost = sum(pages)
    return (lost >= _MIN_ZERO_PAGES and lost * _ZERO_SHARE >= len(pages)) or (len(tail) == TAIL_SAMPLES and all(tail))


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start - merged[-1][1] <= _ALIGNMENT_BYTES:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
