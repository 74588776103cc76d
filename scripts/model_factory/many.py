"""Thousands of model folders in seconds: one real model of 24 layers, whose large files they all link to."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from scripts.model_factory.files import write_json
from scripts.model_factory.folder import write_model
from scripts.model_factory.graph import build_graph
from scripts.model_factory.onnx_files import save_graph
from scripts.model_factory.spec import PRESETS, Quantization
from scripts.model_factory.tokenizer import unprintable_ids
from scripts.model_factory.weights import RandomWeights

# As deep as Qwen2.5-0.5B, so that its graph has as many nodes and tensors (301 and 317 there), and nearly no weights.
_SPEC = dataclasses.replace(PRESETS["tiny"].spec, layers=24)
_LINKED = ("model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_PER_PUBLISHER = 100
_ALIGNMENT = 1 << 12


def many(root: Path, count: int) -> tuple[Path, ...]:
    """Write ``count`` folders of nine files, ``publisher-000/model-00042-generic-cpu``, each a model of its own.

    Files that are equal in all of them are hard links to a first copy, where the file system has such links (and to a
    later copy where it allows only so many of them). ``write_another`` adds one more at any time.
    """
    folders = tuple(_folders(root, count))
    linked: dict[str, Path] = {}
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        if not linked:
            _write_first(folder)
            linked = {name: folder / name for name in _LINKED}
        else:
            for name in _LINKED:
                linked[name] = _link(linked[name], folder / name)
        _write_own(folder, number, folders[0] / "genai_config.json")
    return folders


def write_another(folder: Path, like: Path, number: int) -> Path:
    """Copy ``like`` to ``folder`` under a name of its own, its configuration last; returns the folder."""
    folder.mkdir(parents=True)
    for name in _LINKED:
        shutil.copyfile(like / name, folder / name)
    _write_own(folder, number, like / "genai_config.json")
    return folder


def _folders(root: Path, count: int) -> Iterator[Path]:
    for number in range(count):
        yield root / f"publisher-{number // _PER_PUBLISHER:03}" / f"model-{number:05}-generic-cpu"


def _write_first(folder: Path) -> None:
    write_model(folder, _SPEC, quantization=Quantization.INT4)
    graph = build_graph(_SPEC, Quantization.INT4, RandomWeights(_SPEC, 0, unprintable_ids()))
    save_graph(folder / "model.onnx", graph, external_bytes=0, alignment=_ALIGNMENT)


def _write_own(folder: Path, number: int, like: Path) -> None:
    """The files that differ between models; the configuration comes last, as converters write it."""
    write_json(folder / "inference_model.json", {"Name": f"model-{number:05}-generic-cpu:1", "PromptTemplate": None})
    write_json(folder / "special_tokens_map.json", {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    write_json(folder / "generation_config.json", {"do_sample": True, "temperature": 0.7, "seed": number})
    config = json.loads(like.read_text(encoding="utf-8"))
    config["search"]["random_seed"] = number
    write_json(folder / "genai_config.json", config)


def _link(source: Path, target: Path) -> Path:
    """Make ``target`` the same file as ``source``, or else a copy; returns the one to link to from now on."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        return target
    return source
