from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import ModelNotUsable
from registry.files.listing import fingerprint, list_files
from registry.model import Model, Problem, Source, Status, Verification
from registry.onnx.file import read_onnx
from registry.verify import Progress, verify
from scripts.model_factory import write_preset

DATA = "model.onnx.data"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset("small", tmp_path_factory.mktemp("template") / "small")


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A model of 10 MB with its weights in a file of their own."""
    return Path(shutil.copytree(template, tmp_path / "m"))


def model_in(folder: Path) -> Model:
    """What a check needs of a model; whether a scan would have taken it is not the question here."""
    files = fingerprint(list_files(folder))
    return Model(name="m", version="0", alias="m", path=folder, source=Source.FOLDER, fingerprint=f"{files}-catalog")


def check(folder: Path, known: Verification | None = None) -> Verification:
    return verify(model_in(folder), known=known, progress=lambda _: None, now_s=lambda: 123.0)


def found(verification: Verification) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.file) for problem in verification.problems]


def write_silently(file: Path, content: bytes) -> None:
    """As a failing disk does: other bytes, the same size and time."""
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0x10
    write_silently(file, bytes(content))


def test_a_whole_model_has_the_digest_of_every_file(folder: Path) -> None:
    model = model_in(folder)
    verification = check(folder)
    assert verification.problems == ()
    assert (verification.fingerprint, verification.verified_s) == (model.fingerprint, 123.0)
    assert verification.digests == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
    }


def test_progress_goes_through_every_byte_of_every_file(folder: Path) -> None:
    (folder / "large.bin").write_bytes(os.urandom(5 * 1024**2))
    steps: list[Progress] = []
    verify(model_in(folder), known=None, progress=steps.append)
    assert {step.file for step in steps} == {file.name for file in folder.iterdir()}
    assert [step.done_bytes for step in steps] == sorted(step.done_bytes for step in steps)
    total = sum(file.stat().st_size for file in folder.iterdir())
    assert steps[-1].done_bytes == steps[-1].total_bytes == total
    assert sum(step.file == "large.bin" for step in steps) >= 3


def test_one_changed_bit_is_damage_until_the_file_is_as_it_was(folder: Path) -> None:
    good = check(folder)
    flip(folder / DATA, 4321)
    damaged = check(folder, good)
    assert found(damaged) == [("content_damaged", DATA)]
    assert "touch" in damaged.problems[0].message
    assert found(check(folder, damaged)) == [("content_damaged", DATA)]
    flip(folder / DATA, 4321)
    assert check(folder, damaged).problems == ()


def test_a_file_that_was_written_again_is_no_damage(folder: Path) -> None:
    good = check(folder)
    flip(folder / DATA, 4321)
    os.utime(folder / DATA, ns=(1, 1))
    assert check(folder, good).problems == ()


def cache_of(folder: Path, cache: Path) -> Path:
    """``folder`` as the Hugging Face hub keeps it: links to blobs that are called after their content."""
    blobs, snapshot = cache / "models--a--b" / "blobs", cache / "models--a--b" / "snapshots" / "0" / "cpu"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        content = file.read_bytes()
        name = (
            hashlib.sha256(content).hexdigest()
            if file.suffix in (".data", ".onnx")
            else hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        )
        (blobs / name).write_bytes(content)
        (snapshot / file.name).symlink_to(os.path.relpath(blobs / name, snapshot))
    return snapshot


def test_blobs_of_a_hugging_face_cache_are_held_against_their_names(folder: Path, tmp_path: Path) -> None:
    (folder / "odd.json").write_text("{,}", encoding="utf-8")  # published like that, so it is not damage
    snapshot = cache_of(folder, tmp_path / "hub")
    assert check(snapshot).problems == ()
    for name in (DATA, "genai_config.json"):
        flip((snapshot / name).resolve(), 20)
    damaged = check(snapshot)
    assert found(damaged) == [("content_damaged", "genai_config.json"), ("content_damaged", DATA)]
    assert f"blobs/{(snapshot / DATA).resolve().name}" in damaged.problems[1].message
    assert DATA not in damaged.digests


@pytest.mark.parametrize("where", ["tail", "middle", "all"])
def test_a_hole_in_the_weights_is_found(folder: Path, where: str) -> None:
    content = bytearray((folder / DATA).read_bytes())
    size = len(content)
    start, end = {"tail": (size // 2, size), "middle": (size // 4, size * 3 // 4), "all": (0, size)}[where]
    content[start:end] = bytes(end - start)
    (folder / DATA).write_bytes(content)
    verification = check(folder)
    assert found(verification) == [("external_data_zeroed", DATA)]
    assert "hole" in verification.problems[0].message


def test_one_zeroed_small_tensor_is_not_a_hole(folder: Path) -> None:
    tensors = [t for t in read_onnx(folder / "model.onnx").tensors if t.external and t.elements == 384]
    assert tensors
    content = bytearray((folder / DATA).read_bytes())
    for tensor in tensors:
        assert tensor.external
        content[tensor.external.end - 1536 : tensor.external.end] = bytes(1536)
    (folder / DATA).write_bytes(content)
    assert check(folder).problems == ()


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b'{"a": ', b"\xff\xfe{}", b"[" * 100_000])
def test_json_that_does_not_parse_is_damage(folder: Path, content: bytes) -> None:
    (folder / "special_tokens_map.json").write_bytes(content)
    assert found(check(folder)) == [("content_damaged", "special_tokens_map.json")]


def test_json_with_a_byte_order_mark_and_that_of_tools_is_fine(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf{}")
    (folder / ".vscode").mkdir()
    (folder / ".vscode" / "settings.json").write_text("// no JSON\n{}", encoding="utf-8")
    assert check(folder).problems == ()


def test_json_that_a_scan_can_do_without_is_no_damage(folder: Path) -> None:
    (folder / "inference_model.json").write_text("{", encoding="utf-8")
    noted = replace(model_in(folder), problems=(Problem("inference_model_invalid", "", "inference_model.json"),))
    assert verify(noted, known=None, progress=lambda _: None).problems == ()
    damaged = replace(noted, problems=(Problem("content_damaged", "", "inference_model.json"),))
    assert found(verify(damaged, known=None, progress=lambda _: None)) == [("content_damaged", "inference_model.json")]


def test_a_graph_that_got_damaged_after_the_scan_is_found(folder: Path) -> None:
    model = model_in(folder)
    graph = folder / "model.onnx"
    write_silently(graph, b"\0" * graph.stat().st_size)
    verification = verify(model, known=None, progress=lambda _: None)
    assert found(verification) == [("graph_invalid", "model.onnx")]
    assert "model.onnx" not in verification.digests


def test_data_that_is_too_short_is_found(folder: Path) -> None:
    os.truncate(folder / DATA, (folder / DATA).stat().st_size - 1)
    verification = check(folder)
    assert found(verification) == [("external_data_too_short", DATA)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_cannot_be_read_is_said_and_does_not_block(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    verification = check(folder)
    assert found(verification) == [("unreadable", "dangling"), ("unreadable", "pipe")]


def test_a_model_that_changes_meanwhile_is_not_judged(folder: Path) -> None:
    model = model_in(folder)

    def write(step: Progress) -> None:
        (folder / "new").write_text(step.file, encoding="utf-8")

    for progress in (write, lambda _: None):  # first it changes during the check, then it has changed since the scan
        with pytest.raises(ModelNotUsable, match="changed while"):
            verify(model, known=None, progress=progress)


def test_a_model_that_is_gone_is_missing(folder: Path) -> None:
    model = model_in(folder)
    with pytest.raises(ModelNotUsable, match="missing"):
        verify(replace(model, status=Status.MISSING), known=None, progress=lambda _: None)
    shutil.rmtree(folder)
    with pytest.raises(ModelNotUsable, match="missing"):
        verify(model, known=None, progress=lambda _: None)


def test_an_interrupt_ends_the_check_at_once(folder: Path) -> None:
    model = model_in(folder)

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(model, known=None, progress=interrupt)


def test_a_download_into_a_folder_is_held_against_its_notes(folder: Path) -> None:
    notes = folder / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    digest = hashlib.sha256((folder / DATA).read_bytes()).hexdigest()
    downloaded_s = (folder / DATA).stat().st_mtime
    (notes / f"{DATA}.metadata").write_text(f"{'c' * 40}\n{digest}\n{downloaded_s}\n", encoding="utf-8")
    assert check(folder).problems == ()
    flip(folder / DATA, 4321)
    assert found(check(folder)) == [("content_damaged", DATA)]
