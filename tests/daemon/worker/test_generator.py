"""The first backend on a real model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime_genai as og
import pytest

from daemon.pool.protocol import Finished
from daemon.worker.answer import AnswerText
from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.folder import read_config
from daemon.worker.request import Job
from daemon.worker.sampling import Logits, Sampler, SamplingParams
from daemon.worker.scheduler import Scheduler
from daemon.worker.tokenizer import GenaiTokenizer
from daemon.worker.vocabulary import Vocabulary
from registry.errors import GenerationFailed
from registry.model import ExecutionProvider
from registry.sources import DEMO_ROOT
from scripts.model_factory import write_preset
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


@pytest.mark.parametrize("length", [0, 1, 100, 299, 300])
def test_a_rewound_row_goes_on_as_one_that_never_held_the_rest(model: og.Model, length: int) -> None:
    backend = GeneratorBackend(model)
    rest = [int(token) for token in np.random.default_rng(4).integers(0, 250, 20)]
    fresh, rewound = backend.open(512), backend.open(512)
    expected = backend.extend(fresh, [*PROMPT[:length], *rest])
    backend.extend(rewound, PROMPT)
    backend.rewind(rewound, length)
    assert np.array_equal(backend.extend(rewound, rest), expected)


@pytest.mark.parametrize("size", [4, 8, 24, 100])
def test_how_a_prompt_was_cut_does_not_show_in_a_bit_of_its_logits(model: og.Model, size: int) -> None:
    backend = GeneratorBackend(model)
    whole, cut = backend.open(512), backend.open(512)
    expected = backend.extend(whole, PROMPT[:200])
    for start in range(0, 200, size):
        logits = backend.extend(cut, PROMPT[start : min(start + size, 200)])
    assert np.array_equal(logits, expected)


def test_rewinding_beyond_the_end_fails(model: og.Model) -> None:
    backend = GeneratorBackend(model)
    row = backend.open(64)
    backend.extend(row, PROMPT[:10])
    with pytest.raises(GenerationFailed, match="greater"):
        backend.rewind(row, 11)


def test_a_window_that_attention_looks_after_itself_does_not_shorten_the_cache(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "window")
    plain = GeneratorBackend(og.Model(engine_config(folder, read_config(folder), ExecutionProvider.CPU, threads=1)))
    config = json.loads((folder / "genai_config.json").read_text())
    window = {"window_size": 64, "slide_key_value_cache": False, "slide_inputs": False, "layers": []}
    config["model"]["decoder"]["sliding_window"] = window
    (folder / "genai_config.json").write_text(json.dumps(config))
    other = GeneratorBackend(og.Model(engine_config(folder, read_config(folder), ExecutionProvider.CPU, threads=1)))
    one, twin = plain.open(512), other.open(512)
    assert np.array_equal(plain.extend(one, PROMPT), other.extend(twin, PROMPT))
    assert np.array_equal(plain.extend(one, [7]), other.extend(twin, [7]))


def test_a_generator_is_not_copied_and_keeps_its_room(model: og.Model) -> None:
    with pytest.raises(GenerationFailed, match="larger or smaller"):
        GeneratorBackend(model).resize(0, 8)
    backend = GeneratorBackend(model)
    assert not backend.can_copy
    with pytest.raises(GenerationFailed, match="copied"):
        backend.copy(backend.open(8), 0, 8)
    assert not backend.can_verify
    with pytest.raises(GenerationFailed, match="last position"):
        backend.verify(backend.open(8), [1, 2])


class Recorder(Sampler):
    """A sampler that remembers what it picked."""

    def __init__(self, seed: int | None) -> None:
        super().__init__(SamplingParams(temperature=0) if seed is None else SamplingParams(seed=seed))
        self.picked: list[int] = []

    def pick(self, logits: Logits) -> int:
        self.picked.append(super().pick(logits))
        return self.picked[-1]


def ask(
    model: og.Model, subject: Scheduler, *prompts: list[int], seed: int | None = None
) -> tuple[list[list[int]], list[int]]:
    """The answers to prompts that are asked at once, and how many tokens of each were not read again."""
    samplers = [Recorder(seed) for _ in prompts]
    for name, (prompt, sampler) in enumerate(zip(prompts, samplers, strict=True)):
        text = AnswerText(GenaiTokenizer(model), ())
        subject.submit(
            Job(
                request_id=str(name),
                prompt=prompt,
                max_tokens=30,
                end_ids=frozenset(),
                sampler=sampler,
                text=text,
            )
        )
    ends: dict[str, int] = {}
    while not subject.is_idle:
        ends |= {event.request_id: event.cached_tokens for event in subject.step() if isinstance(event, Finished)}
    return [sampler.picked for sampler in samplers], [ends[str(name)] for name in range(len(prompts))]


def scheduler(model: og.Model, kept_rows: int) -> Scheduler:
    return Scheduler(GeneratorBackend(model), context_tokens=2048, max_concurrent=4, kept_rows=kept_rows)


@pytest.mark.parametrize("seed", [None, 5])
def test_answers_are_the_same_with_and_without_reuse(model: og.Model, seed: int | None) -> None:
    kept, plain = scheduler(model, 4), scheduler(model, 0)
    ((first,), _) = ask(model, kept, PROMPT, seed=seed)
    # The next turn, the same prompt again, and another that parts from it in the middle.
    for prompt, least_cached in (
        ([*PROMPT, *first, *PROMPT[:20]], 320),
        (PROMPT, 290),
        ([*PROMPT[:150], 7, 8, 9], 140),
    ):
        answer, (cached,) = ask(model, kept, prompt, seed=seed)
        expected, (none,) = ask(model, plain, prompt, seed=seed)
        assert cached >= least_cached
        assert none == 0
        assert answer == expected


def test_a_seed_gives_the_same_text_whatever_else_runs(model: og.Model) -> None:
    others = [PROMPT[50:90], PROMPT[:250], PROMPT[100:103]]
    (alone,), _ = ask(model, scheduler(model, 0), PROMPT[:200], seed=11)
    (beside, *_), _ = ask(model, scheduler(model, 0), PROMPT[:200], *others, seed=11)
    assert beside == alone


def test_the_bytes_of_tokens_make_up_their_text(model: og.Model, tiny_model: Path) -> None:
    tokenizer = GenaiTokenizer(model)
    vocabulary = Vocabulary(tiny_model, tokenizer.text_of)
    text = "Größe 中文 🎉\n\ta  b<|im_end|>"
    assert b"".join(map(vocabulary.bytes_of, tokenizer.encode(text))).decode() == text
    assert tokenizer.text_of(tokenizer.encode(" the")[0]) == vocabulary.bytes_of(tokenizer.encode(" the")[0]).decode()


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


def test_what_every_text_begins_with_is_what_the_tokenizer_is_configured_to_add(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEMO_ROOT, tmp_path / "demo"))
    plain = GenaiTokenizer(og.Model(str(folder)))
    file = folder / "tokenizer_config.json"
    configured = {**json.loads(file.read_text()), "add_bos_token": True, "bos_token": "<|endoftext|>"}
    file.write_text(json.dumps(configured))
    tokenizer = GenaiTokenizer(og.Model(str(folder)))
    assert plain.begin_ids == []
    assert tokenizer.begin_ids == plain.encode("<|endoftext|>")
    assert tokenizer.encode("Hello") == plain.encode("Hello")


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
    assert {each["session.force_spinning_stop"] for each in options.values()} == {"1"}
