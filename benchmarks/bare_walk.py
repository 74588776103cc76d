"""The least that a look at a disk full of models can cost: what the registry's scans are measured against."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx

from registry.onnx.file import read_onnx
from registry.onnx.messages import Graph, Model


def stat_walk(root: Path) -> int:
    """Ask for the status of every file, and keep nothing; returns the number of files."""
    return sum(1 for entry in _files(str(root)) if entry.stat())


def parsing_walk(root: Path, parse: Callable[[str], object]) -> int:
    """The same, and read each JSON file and each graph once; returns the number of files."""
    count = 0
    for entry in _files(str(root)):
        entry.stat()
        count += 1
        if entry.name.endswith(".json"):
            with open(entry.path, "rb") as file:  # noqa: PTH123 - the least that it can cost
                json.loads(file.read())
        elif entry.name.endswith(".onnx"):
            parse(entry.path)
    return count


def parse_like_us(path: str) -> object:
    """With the registry's own messages: one parse of the graph, and nothing read from it."""
    return [Graph.FromString(graph) for graph in Model.FromString(Path(path).read_bytes()).graph]


def parse_into_values(path: str) -> object:
    """The same, and every node, tensor and input is made a value of Python, as json.loads does with a JSON file."""
    return read_onnx(Path(path))


def parse_with_onnx(path: str) -> object:
    """With the onnx package, whose parser is C++."""
    return onnx.load(path, load_external_data=False)


def _files(directory: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            else:
                yield entry
