"""The files that get loaded: every graph of a model and its external data, checked to be there and long enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from registry.documents import require_regular, unreadable
from registry.errors import InvalidModelFolder
from registry.graph import GraphFacts, read_graph
from registry.listing import exists
from registry.problems import ProblemCode
from registry.protobuf import MalformedProtobuf


@dataclass(frozen=True, slots=True)
class Weights:
    """``graphs`` in the order of the configuration; ``weight_bytes`` counts a file once, however often it is linked."""

    graphs: tuple[GraphFacts, ...]
    weight_bytes: int

    @property
    def main(self) -> GraphFacts:
        """The graph with most parameters: the decoder, or a pipeline's largest stage."""
        return max(self.graphs, key=lambda graph: graph.parameters)


def read_weights(folder: Path, graphs: Iterable[str]) -> Weights:
    """``graphs`` are file names relative to ``folder``. Raises InvalidModelFolder."""
    facts = []
    sizes: dict[tuple[int, int] | Path, int] = {}
    for name in graphs:
        path = _inside(folder, name, named_by="genai_config.json")
        _add_size(sizes, path, name, missing=ProblemCode.GRAPH_MISSING)
        graph = _read(path, name)
        for location, end_bytes in graph.external_ends.items():
            data_name = (PurePosixPath(name).parent / location).as_posix()
            data = _inside(folder, data_name, named_by=name)
            size_bytes = _add_size(sizes, data, data_name, missing=ProblemCode.EXTERNAL_DATA_MISSING)
            if size_bytes < end_bytes:
                raise InvalidModelFolder(
                    ProblemCode.EXTERNAL_DATA_TOO_SHORT,
                    f"{data_name} has {size_bytes} bytes, and {name} needs {end_bytes}. The copy or download was cut "
                    "short: copy or download the model again.",
                    file=data_name,
                )
        facts.append(graph)
    return Weights(tuple(facts), sum(sizes.values()))


def _read(path: Path, name: str) -> GraphFacts:
    try:
        return read_graph(path)
    except MalformedProtobuf as error:
        raise InvalidModelFolder(
            ProblemCode.GRAPH_INVALID,
            f"{name} is not a whole ONNX model: {error}. Copy, download or convert the model again.",
            file=name,
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _inside(folder: Path, name: str, *, named_by: str) -> Path:
    """``folder / name``, if no component leaves the folder. The text decides; links are not resolved here."""
    windows = PureWindowsPath(name)
    if windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name:
        raise InvalidModelFolder(
            ProblemCode.PATH_LEAVES_FOLDER,
            f"{named_by} names the file {name[:200]!r}, which is not inside the model's folder. Such a model is not "
            "loaded: put the file into the folder and correct the name.",
            file=named_by,
        )
    return folder / name


def _add_size(sizes: dict[tuple[int, int] | Path, int], path: Path, name: str, *, missing: ProblemCode) -> int:
    """Remember and return the size of a file, by inode where there is one."""
    if not exists(path):
        raise InvalidModelFolder(
            missing,
            f"{name} is not there, and the model needs it. Copy, download or convert the model again.",
            file=name,
        )
    status = require_regular(path)
    sizes[(status.st_dev, status.st_ino) if status.st_ino else path] = status.st_size
    return status.st_size
