from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from registry.layouts.published import PublishedHashes

SHA256 = hashlib.sha256(b"weights").hexdigest()
SHA1 = hashlib.sha1(b"blob 2\0{}", usedforsecurity=False).hexdigest()


def download(root: Path, name: str, digest: str, *, at_s: float = 1000.0, written_s: float = 999.0) -> Path:
    """A file as `hf download --local-dir` leaves it."""
    file, note = root / name, root / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    for path in (file, note):
        path.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    os.utime(file, (written_s, written_s))
    note.write_text(f"{'c' * 40}\n{digest}\n{at_s}\n", encoding="utf-8")
    return file


def test_a_link_into_a_hugging_face_cache_has_the_hash_in_its_name(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1" / "cpu"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, digest in (("model.onnx.data", SHA256), ("config.json", SHA1), ("odd", "d" * 39)):
        (blobs / digest).touch()
        (snapshot / name).symlink_to(os.path.relpath(blobs / digest, snapshot))
    hashes = PublishedHashes(snapshot)
    large, small = hashes.find("model.onnx.data"), hashes.find("config.json")
    assert large is not None
    assert small is not None
    assert (large.digest, large.is_git_blob) == (SHA256, False)
    assert (small.digest, small.is_git_blob) == (SHA1, True)
    assert f"blobs/{SHA1}" in small.remedy
    assert hashes.find("odd") is None


@pytest.mark.parametrize("folder", ["", "cpu_and_mobile/cpu-int4-rtn-block-32"])
def test_a_download_into_a_folder_has_it_in_a_note(tmp_path: Path, folder: str) -> None:
    download(tmp_path, f"{folder}/model.onnx.data".lstrip("/"), SHA256)
    found = PublishedHashes(tmp_path / folder).find("model.onnx.data")
    assert found is not None
    assert (found.digest, found.remedy) == (SHA256, "Delete it")


@pytest.mark.parametrize(
    ("digest", "at_s"),
    [
        (SHA256, 900.0),  # the file was written later: it is somebody's own now
        ('W/"abc"', 1000.0),
        ("", 1000.0),
    ],
)
def test_a_note_that_does_not_fit_says_nothing(tmp_path: Path, digest: str, at_s: float) -> None:
    download(tmp_path, "f", digest, at_s=at_s)
    assert PublishedHashes(tmp_path).find("f") is None


def test_a_folder_that_was_made_here_has_no_hashes(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert PublishedHashes(tmp_path).find("f") is None
    assert PublishedHashes(tmp_path).find("gone") is None


@pytest.mark.parametrize("note", [b"", b"\xff\xfe", b"one\ntwo", b"a\n" + SHA256.encode() + b"\nnever"])
def test_a_broken_note_says_nothing(tmp_path: Path, note: bytes) -> None:
    download(tmp_path, "f", SHA256)
    (tmp_path / ".cache" / "huggingface" / "download" / "f.metadata").write_bytes(note)
    assert PublishedHashes(tmp_path).find("f") is None
