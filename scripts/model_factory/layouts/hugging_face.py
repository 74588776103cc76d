"""The Hugging Face hub's cache: blobs named by their digest, and snapshots made of links to them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.model_factory.files import write_json, write_text
from scripts.model_factory.folder import write_preset
from scripts.model_factory.layouts.decoders import tiny_facts
from scripts.model_factory.layouts.expectation import Expectation
from scripts.model_factory.layouts.parts import link

OLD_REVISION = "1f2e3d4c5b6a79880123456789abcdef01234567"
NEW_REVISION = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"
_OTHER_REVISION = "0c0ffee00c0ffee00c0ffee00c0ffee00c0ffee0"
_PUBLISHER = "acme"
_MODEL = "Tiny-3-mini-4k-instruct-onnx"
_CPU = "cpu_and_mobile"
_FAST, _EXACT = "cpu-int4-rtn-block-32-acc-level-4", "cpu-int4-rtn-block-32"
_LARGE_SUFFIXES = (".onnx", ".data", ".safetensors")  # what a repository keeps in large file storage


def hugging_face_cache(root: Path) -> tuple[Expectation, ...]:
    """A cache (``root`` is ``huggingface/hub``) with two revisions of one repository, and what else lies about."""
    _write_surroundings(root)
    _repository(root, _MODEL, OLD_REVISION, lambda files: _variants(files, (_FAST,), seed=1))
    _repository(root, _MODEL, NEW_REVISION, lambda files: _variants(files, (_FAST, _EXACT), seed=2), ref="main")
    _repository(root, "plain-onnx", _OTHER_REVISION, _plain_export, ref="main")
    _repository(root, "torch-only", _OTHER_REVISION, _torch, ref="main")
    return (
        _model(OLD_REVISION, _FAST, refs=()),
        _model(NEW_REVISION, _FAST, refs=("main",)),
        _model(NEW_REVISION, _EXACT, refs=("main",)),
        _interrupted(root, "Broken-onnx", is_linked=False),
        _interrupted(root, "Dangling-onnx", is_linked=True),
        Expectation(path=_snapshot("plain-onnx", _OTHER_REVISION), status="invalid", problems=("not_genai",)),
    )


def _model(revision: str, variant: str, *, refs: tuple[str, ...]) -> Expectation:
    alias = _MODEL.removesuffix("-onnx")
    about = {
        "name": f"{alias}-{variant}",
        "version": revision[:8],
        "alias": alias,
        "publisher": _PUBLISHER,
        "refs": refs,
    }
    facts: dict[str, Any] = {**tiny_facts(), **about}
    return Expectation(path=f"{_snapshot(_MODEL, revision)}/{_CPU}/{variant}", facts=facts, answers=True)


def _snapshot(name: str, revision: str) -> str:
    return f"models--{_PUBLISHER}--{name}/snapshots/{revision}"


def _variants(files: Path, variants: tuple[str, ...], seed: int) -> None:
    write_text(files / "README.md", "---\nlicense: mit\n---\n")
    write_text(files / ".gitattributes", "*.onnx filter=lfs diff=lfs merge=lfs -text\n")
    write_json(files / "config.json", {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]})
    for number, variant in enumerate(variants):
        write_preset("tiny", files / _CPU / variant, seed=10 * seed + number)


def _plain_export(files: Path) -> None:
    """A conversion for the browser: graphs in many precisions, and nothing of onnxruntime-genai."""
    whole = write_preset("tiny", files / "onnx")
    for name in ("model_quantized.onnx", "model_fp16.onnx"):
        shutil.copyfile(whole / "model.onnx", files / "onnx" / name)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (whole / name).replace(files / name)
    for name in ("genai_config.json", "chat_template.jinja"):
        (whole / name).unlink()
    write_json(files / "config.json", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})


def _torch(files: Path) -> None:
    write_json(files / "config.json", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    (files / "model.safetensors").write_bytes(bytes(4096))


def _interrupted(root: Path, name: str, *, is_linked: bool) -> Expectation:
    """Without its graph, whose download was cut off. The hub makes the link last; one that is there lost its blob."""
    _repository(root, name, _OTHER_REVISION, lambda files: _variants(files, (_FAST,), seed=3), ref="main")
    path = f"{_snapshot(name, _OTHER_REVISION)}/{_CPU}/{_FAST}"
    graph = root / path / "model.onnx"
    blob = root / f"models--{_PUBLISHER}--{name}" / "blobs" / _digest(graph)
    blob.rename(blob.with_name(f"{blob.name}.incomplete"))
    if not is_linked or not graph.is_symlink():
        graph.unlink()
    return Expectation(path=path, status="partial", problems=("unfinished",))


def _repository(root: Path, name: str, revision: str, write: Callable[[Path], None], *, ref: str | None = None) -> None:
    repository = root / f"models--{_PUBLISHER}--{name}"
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch)
        write(files)
        for file in sorted(path for path in files.rglob("*") if path.is_file()):
            blob = repository / "blobs" / _digest(file)
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, blob)
            link(repository / "snapshots" / revision / file.relative_to(files), blob)
    if ref is not None:
        (repository / "refs").mkdir(exist_ok=True)
        write_text(repository / "refs" / ref, revision)


def _digest(file: Path) -> str:
    """SHA-256 of what is in large file storage, and git's own digest of the rest."""
    content = file.read_bytes()
    if file.suffix in _LARGE_SUFFIXES:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _write_surroundings(root: Path) -> None:
    """What the hub keeps beside models: other kinds of repositories, locks, and notes of files that do not exist."""
    dataset = root / f"datasets--{_PUBLISHER}--texts" / "snapshots" / _OTHER_REVISION
    dataset.mkdir(parents=True)
    write_json(dataset / "genai_config.json", {"model": {}})
    (root / ".locks" / f"models--{_PUBLISHER}--{_MODEL}").mkdir(parents=True)
    missing = root / f"models--{_PUBLISHER}--{_MODEL}" / ".no_exist" / NEW_REVISION
    missing.mkdir(parents=True)
    (missing / "adapter_config.json").touch()
    write_text(root / "version.txt", "1")
