from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.files.listing import list_files
from registry.reading.content import content_digest
from registry.reading.reader import SAMPLE_BYTES, SMALL_BYTES, sample_offsets

LARGE_BYTES = 40 * SMALL_BYTES


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "genai_config.json").write_bytes(b"{}")
    (folder / "tokenizer" / "tokenizer.json").write_bytes(b"[]")
    (folder / "model.onnx.data").write_bytes(os.urandom(LARGE_BYTES))
    return folder


def digest(folder: Path) -> str:
    return content_digest(folder, list_files(folder))


def test_a_copy_has_the_same_content_whatever_its_times(model: Path, tmp_path: Path) -> None:
    before = digest(model)
    shutil.copytree(model, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "genai_config.json", ns=(1, 1))
    assert digest(tmp_path / "copy") == before


def write(folder: Path, name: str, offset: int) -> None:
    with (folder / name).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xab\xcd\xef")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write(folder, "genai_config.json", 0),
        lambda folder: write(folder, "tokenizer/tokenizer.json", 1),
        lambda folder: write(folder, "model.onnx.data", 0),
        lambda folder: write(folder, "model.onnx.data", LARGE_BYTES - 3),
        lambda folder: write(folder, "model.onnx.data", sample_offsets(LARGE_BYTES)[5] + 17),
        lambda folder: (folder / "genai_config.json").rename(folder / "config.json"),
        lambda folder: (folder / "adapter.onnx_adapter").touch(),
        lambda folder: os.truncate(folder / "model.onnx.data", LARGE_BYTES - 1),
    ],
)
def test_other_content_has_another_digest(change: Callable[[Path], object], model: Path) -> None:
    before = digest(model)
    change(model)
    assert digest(model) != before


def test_the_weights_of_a_fine_tune_differ_everywhere_so_every_page_tells(model: Path) -> None:
    before = digest(model)
    (model / "model.onnx.data").write_bytes(os.urandom(LARGE_BYTES))
    assert digest(model) != before


@pytest.mark.parametrize("name", [".DS_Store", ".cache/huggingface/x.lock", "README.md", "LICENSE", "a.incomplete"])
def test_what_is_beside_a_model_does_not_count(name: str, model: Path) -> None:
    before = digest(model)
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_bytes(b"anything")
    assert digest(model) == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that count")
def test_a_file_that_cannot_be_read_stands_with_its_name_and_size(model: Path) -> None:
    (model / "genai_config.json").chmod(0)
    assert len(digest(model)) == 32


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(model: Path) -> None:
    os.mkfifo(model / "pipe")
    assert len(digest(model)) == 32


@pytest.mark.parametrize("size_bytes", [20 * SMALL_BYTES, 10**8, 2**40 + 7])
def test_samples_cover_a_file_from_its_first_to_its_last_byte(size_bytes: int) -> None:
    offsets = sample_offsets(size_bytes)
    assert len(offsets) == 16
    assert min(offsets) == 0
    assert max(offsets) == size_bytes - SAMPLE_BYTES
    assert sum(offset >= size_bytes * 0.94 for offset in offsets) >= 5
