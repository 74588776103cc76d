"""What Microsoft's Olive leaves around a model it made: which model it was made from, and for which task.

``model_config.json`` describes the model that was written (``{"type", "config": {"model_path", "model_attributes"}}``),
in its folder or the one above; ``footprint.json`` beside it the steps that led there, the first of which names the
original. Both are only read for a better name than "output_model": what a person called the folder goes before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.errors import InvalidModelFolder
from registry.files.documents import Fields, read_json_object
from registry.files.listing import exists
from registry.notes import Notes
from registry.problems import ProblemCode

MODEL_CONFIG_FILE = "model_config.json"
_FOOTPRINT_FILE = "footprint.json"
_ORIGINAL_MODEL = "hfmodel"
# A workflow has some ten steps; a search over parameters may have hundreds.
_MAX_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class OliveOutput:
    """``original`` is the model's name on the Hugging Face hub, ``publisher/name``, None if it is not known."""

    original: str | None
    task: str | None

    @property
    def name(self) -> str | None:
        return self.original.rpartition("/")[2] if self.original else None

    @property
    def publisher(self) -> str | None:
        return self.original.partition("/")[0] if self.original and "/" in self.original else None


def read_olive(folder: Path, root: Path, notes: Notes) -> OliveOutput | None:
    """None if Olive did not make the model in ``folder``; a file of Olive that is broken is noted."""
    for place in (folder, folder.parent):
        if place.is_relative_to(root) and exists(place / MODEL_CONFIG_FILE):
            return _read(place, notes)
    return None


def _read(place: Path, notes: Notes) -> OliveOutput | None:
    try:
        output = _from_model(read_json_object(place / MODEL_CONFIG_FILE, ProblemCode.MODEL_CONFIG_INVALID))
        if output.original is None and exists(place / _FOOTPRINT_FILE):
            output = _from_footprint(place / _FOOTPRINT_FILE) or output
    except InvalidModelFolder as error:
        notes.add(ProblemCode.MODEL_CONFIG_INVALID, f"{error.message} Until then it is ignored.", error.file)
        return None
    return output


def _from_model(document: Fields) -> OliveOutput:
    config = document.child("config")
    attributes = config.child("model_attributes")
    named = [attributes.text("_name_or_path"), attributes.text("hf_model_name")]
    if (document.text("type") or "").lower() == _ORIGINAL_MODEL:
        named.append(config.text("model_path"))
    return OliveOutput(next(filter(None, map(_hub_name, named)), None), config.text("task"))


def _from_footprint(path: Path) -> OliveOutput | None:
    document = read_json_object(path, ProblemCode.MODEL_CONFIG_INVALID)
    for step in _steps(document):
        for key in ("model_config", "model_config_data"):
            output = _from_model(step.child(key)) if isinstance(step.raw(key), dict) else None
            if output is not None and output.original is not None:
                return output
    return None


def _steps(document: Fields) -> Iterator[Fields]:
    """By id: at the top of the file, or under "nodes"."""
    nodes = document.child("nodes") if isinstance(document.raw("nodes"), dict) else document
    for index, key in enumerate(nodes):
        if index >= _MAX_STEPS:
            return
        if isinstance(nodes.raw(key), dict):
            yield nodes.child(key)


def _hub_name(path: str | None) -> str | None:
    """``path`` if it is a name on the hub, and not a place on the disk of the one who ran Olive."""
    if not path or len(path) > 200 or not path.isprintable() or path.count("/") != 1:
        return None
    return None if any(mark in path for mark in ("\\", ":", " ")) or path[0] in "./~" else path
