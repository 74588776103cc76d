"""The first backend on a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime_genai as og
import pytest

from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.folder import read_config
from daemon.worker.tokenizer import GenaiTokenizer
from registry.errors import GenerationFailed
from registry.model import ExecutionProvider
from scripts.model_factory.vision import write_vision_model

PROMPT = [int(token) for token in np.random.default_rng(3).integers(0, 250, 300)]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[og.Model]:
    yield og.Model(engine_config(tiny_model, read_config(tiny_model), ExecutionProvider.CPU, threads=1))


def test_a_prompt_read_in_chunks_ends_with_the_logits_of_the_whole(model: og.Model) -> None:
    backend = GeneratorBackend(model)
    whole, chunked = backend.open(512), backend.open(512)
    expected = backend.extend(whole, PROMPT)
    for start in range(0, len(PROMPT), 128):
        logits = backend.extend(chunked, PROMPT[start : start + 128])
    assert logits.ndim == 1
    assert np.allclose(logits, expected, atol=1e-4)


def test_rows_do_not_disturb_each_other(model: og.Model) -> None:
    backend = GeneratorBackend(model)
    alone = backend.open(256)
    expected = [backend.extend(alone, [token]) for token in PROMPT[:5]]
    one, other = backend.open(256), backend.open(256)
    for token, logits in zip(PROMPT[:5], expected, strict=True):
        result, _ = backend.decode([(one, token), (other, 7)])
        assert not isinstance(result, GenerationFailed)
        assert np.array_equal(result, logits)


def test_a_row_that_is_full_fails_and_the_others_of_its_batch_go_on(model: og.Model) -> None:
    backend = GeneratorBackend(model)
    full, free = backend.open(4), backend.open(8)
    backend.extend(full, [1, 2, 3, 4])
    failed, fine = backend.decode([(full, 5), (free, 5)])
    assert isinstance(failed, GenerationFailed)
    assert "max length" in failed.message
    assert not isinstance(fine, GenerationFailed)


def test_more_room_than_the_model_has_fails(model: og.Model) -> None:
    with pytest.raises(GenerationFailed, match="context_length"):
        GeneratorBackend(model).open(10**6)


def test_closing_a_row_twice_is_nothing(model: og.Model) -> None:
    backend = GeneratorBackend(model)
    row = backend.open(8)
    backend.close(row)
    backend.close(row)


def test_special_and_unknown_tokens_are_silent_and_broken_bytes_are_not(model: og.Model) -> None:
    tokenizer = GenaiTokenizer(model)
    (end,) = tokenizer.encode("<|im_end|>")
    assert tokenizer.is_silent(end)
    assert tokenizer.is_silent(10_000)
    assert not tokenizer.is_silent(tokenizer.encode("é")[0])
    assert not tokenizer.is_silent(tokenizer.encode(" ")[0])


def test_end_tokens_come_from_the_engine_and_the_tokenizer(model: og.Model) -> None:
    configured = GenaiTokenizer(model).end_ids
    extra = GenaiTokenizer(model, "<|im_start|>").end_ids
    assert extra - configured == set(GenaiTokenizer(model).encode("<|im_start|>"))
    assert GenaiTokenizer(model, "no such token").end_ids == configured


def test_characters_that_c_strings_cannot_carry_do_not_cut_the_text(model: og.Model) -> None:
    tokenizer = GenaiTokenizer(model)
    assert tokenizer.decode(tokenizer.encode("a\0b\ud800c")) == "a\ufffdb\ufffdc"


def test_every_part_of_a_model_gets_the_threads_and_only_the_decoder_spins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_vision_model(tmp_path / "vision")
    laid: list[str] = []

    class Config:
        """The library's own has no way to look into it."""

        def __init__(self, path: str) -> None:
            self._config = real(path)

        def overlay(self, text: str) -> None:
            laid.append(text)
            self._config.overlay(text)

        def clear_providers(self) -> None:
            self._config.clear_providers()

    real = og.Config
    monkeypatch.setattr(og, "Config", Config)
    engine_config(folder, read_config(folder), ExecutionProvider.CPU, threads=3)
    parts = json.loads(laid[0])["model"]
    options = {part: parts[part]["session_options"] for part in parts}
    assert {part: each["intra_op_num_threads"] for part, each in options.items()} == dict.fromkeys(
        ("decoder", "vision", "embedding"), 3
    )
    assert [part for part, each in options.items() if each["session.intra_op.allow_spinning"] == "1"] == ["decoder"]
