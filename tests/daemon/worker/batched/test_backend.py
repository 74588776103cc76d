"""The batched backend against onnxruntime-genai's generator, on real models."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from daemon.pool.failures import FailureKind, kind_of_request
from daemon.pool.protocol import Failed, Finished, Generate, Load
from daemon.worker.backends.batched.memory import reserved
from daemon.worker.backends.batched.proof import is_same
from daemon.worker.backends.generator import GeneratorBackend
from daemon.worker.loading import load_engine
from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed
from scripts.model_factory import Quantization, write_preset
from tests.daemon.worker.batched.guarded import Guarded
from tests.daemon.worker.batched.opened import CONTEXT_TOKENS, SLOTS, Batched, described, generator

VOCABULARY = 320
PRECISIONS = ("fp32", "int4", "int8")
# Sums of single precision, in another order.
FP32_TOLERANCE = 1e-4


def tokens(seed: int, count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, VOCABULARY, count)]


def assert_equal(precision: str, ours: Logits | GenerationFailed, theirs: Logits) -> None:
    assert not isinstance(ours, GenerationFailed)
    if precision == "fp32":
        assert np.abs(ours - theirs).max() < FP32_TOLERANCE
        assert ours.argmax() == theirs.argmax()
    else:
        assert is_same(ours, theirs)


class Twins:
    """Rows of both backends that are given the same tokens, and whose logits must be the same."""

    def __init__(self, folder: Path, precision: str, seed: int) -> None:
        self._precision = precision
        self._random = np.random.default_rng(seed)
        self._ours, self._theirs = Batched(folder), generator(folder)
        self._held: dict[int, list[int]] = {}
        self._twins: dict[int, int] = {}

    def step(self) -> str:
        """Whatever comes, and what it was."""
        acts = ["open"] if len(self._held) < SLOTS else []
        if self._held:
            acts += ["extend", "decode", "decode", "decode", "rewind", "close", "verify"]
            acts += ["copy"] if len(self._held) < SLOTS else []
        act = str(self._random.choice(acts))
        getattr(self, f"_{act}")()
        self._ours.poison()
        return act

    def _any(self) -> int:
        return int(self._random.choice(list(self._held)))

    def _some_tokens(self, most: int) -> list[int]:
        count = int(self._random.integers(1, most))
        return [int(token) for token in self._random.integers(0, VOCABULARY, count)]

    def _add(self, row: int, held: list[int]) -> None:
        self._held[row] = held
        twin = self._theirs.open(CONTEXT_TOKENS)
        if held:
            self._theirs.extend(twin, held)
        self._twins[row] = twin

    def _open(self) -> None:
        self._add(self._ours.open(CONTEXT_TOKENS), [])

    def _extend(self) -> None:
        row, more = self._any(), self._some_tokens(60)
        if len(self._held[row]) + len(more) > CONTEXT_TOKENS:
            return
        ours = self._ours.extend(row, more)
        self._held[row] += more
        assert_equal(self._precision, ours, self._theirs.extend(self._twins[row], more))

    def _decode(self) -> None:
        rows = [row for row, held in self._held.items() if held and len(held) < CONTEXT_TOKENS]
        chosen = [int(row) for row in self._random.permutation(rows)[: self._random.integers(0, SLOTS + 1)]]
        batch = [(row, int(self._random.integers(0, VOCABULARY))) for row in chosen]
        for (row, token), ours in zip(batch, self._ours.decode(batch), strict=True):
            self._held[row].append(token)
            assert_equal(self._precision, ours, self._theirs.extend(self._twins[row], [token]))

    def _verify(self) -> None:
        row, more = self._any(), self._some_tokens(6)
        if len(self._held[row]) + len(more) > CONTEXT_TOKENS:
            return
        ours = self._ours.verify(row, more)
        assert len(ours) == len(more)
        self._held[row] += more
        for token, logits in zip(more, ours, strict=True):
            assert_equal(self._precision, logits, self._theirs.extend(self._twins[row], [token]))

    def _rewind(self) -> None:
        row = self._any()
        length = int(self._random.integers(0, len(self._held[row]) + 1))
        self._ours.rewind(row, length)
        self._theirs.rewind(self._twins[row], length)
        del self._held[row][length:]

    def _copy(self) -> None:
        row = self._any()
        length = int(self._random.integers(0, len(self._held[row]) + 1))
        self._add(self._ours.copy(row, length, CONTEXT_TOKENS), self._held[row][:length])

    def _close(self) -> None:
        row = self._any()
        self._ours.close(row)
        self._theirs.close(self._twins.pop(row))
        del self._held[row]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_that_come_and_go_give_what_the_generator_gives(
    models: Mapping[str, Path], precision: str, seed: int
) -> None:
    twins = Twins(models[precision], precision, seed)
    done = {twins.step() for _ in range(120)}
    assert done == {"open", "extend", "decode", "verify", "rewind", "copy", "close"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_greedy_answers_of_rows_that_join_at_different_times_are_the_generators(
    models: Mapping[str, Path], precision: str
) -> None:
    """Without a single difference in the logits, as long as the generator decodes one row a call and these several."""
    ours, theirs = Batched(models[precision]), generator(models[precision])
    prompts = [tokens(seed, size) for seed, size in enumerate((7, 16, 40, 150, 300))]
    expected = [_greedy(theirs, prompt, 24) for prompt in prompts]
    answers: dict[int, list[int]] = {}
    rows: list[int] = []
    for prompt in prompts:
        row = ours.open(CONTEXT_TOKENS)
        for start in range(0, len(prompt), 64):
            logits = ours.extend(row, prompt[start : start + 64])
            _advance(ours, answers, 24)
        rows.append(row)
        answers[row] = [int(logits.argmax())]
    while any(len(answer) < 24 for answer in answers.values()):
        _advance(ours, answers, 24)
    assert [answers[row] for row in rows] == expected


def _greedy(backend: GeneratorBackend, prompt: list[int], count: int) -> list[int]:
    row = backend.open(CONTEXT_TOKENS)
    answer = [int(backend.extend(row, prompt).argmax())]
    while len(answer) < count:
        answer.append(int(backend.extend(row, answer[-1:]).argmax()))
    return answer


def _advance(backend: Batched, answers: dict[int, list[int]], count: int) -> None:
    batch = [(row, answer[-1]) for row, answer in answers.items() if len(answer) < count]
    for (row, _), logits in zip(batch, backend.decode(batch), strict=True):
        assert not isinstance(logits, GenerationFailed)
        answers[row].append(int(logits.argmax()))


def _with_attention(folder: Path, **attributes: Any) -> Path:
    """The model, whose attention has these attributes."""
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            kept = [each for each in node.attribute if each.name not in attributes]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    (folder / "model.onnx.data").unlink(missing_ok=True)
    onnx.save(model, folder / "model.onnx")
    return folder


@pytest.mark.parametrize("attributes", [{"local_window_size": 24}, {"softcap": 0.05}, {"smooth_softmax": 1}])
def test_forms_of_attention_are_the_same_in_a_batch(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """Windows that are shorter than the rows, and caps that are felt."""
    plain = write_preset("tiny", tmp_path / "plain")
    folder = _with_attention(write_preset("tiny", tmp_path / "changed"), **attributes)
    twins = Twins(folder, "int4", seed=5)
    for _ in range(60):
        twins.step()
    prompt = tokens(1, 100)
    one, other = Batched(plain), Batched(folder)
    is_other_model = one.extend(one.open(512), prompt) - other.extend(other.open(512), prompt)
    assert np.abs(is_other_model).max() > FP32_TOLERANCE


@pytest.mark.parametrize("precision", ["fp32", "int4"])
@pytest.mark.parametrize("form", ["takes_positions", "qk_norm", "half_cache"])
def test_forms_of_decoders_are_the_same_in_a_batch(tmp_path: Path, form: str, precision: str) -> None:
    """Rotary embeddings by position ids, norms of queries and keys, and a cache in fp16."""
    changes: dict[str, Any] = {form: True, **({"model_type": "qwen3"} if form == "qk_norm" else {})}
    folder = write_preset("tiny", tmp_path / form, quantization=Quantization.parse(precision), **changes)
    decoder = described(folder)
    assert (decoder.position_ids is not None, decoder.caches[0].dtype) == (
        form == "takes_positions",
        np.float16 if form == "half_cache" else np.float32,
    )
    # In fp16 a sum in another order may be rounded otherwise.
    twins = Twins(folder, "half" if form == "half_cache" else precision, seed=6)
    for _ in range(80):
        twins.step()


def test_rows_may_be_longer_than_a_window_and_are_cut_and_copied_all_the_same(tmp_path: Path) -> None:
    """The generator keeps no more than the window, and can be cut no more: it reads everything anew instead."""
    folder = write_preset("tiny", tmp_path / "window", quantization=Quantization.FP32, window=48)
    assert described(folder).least_slot_tokens == 48
    ours, theirs = Batched(folder), generator(folder, least_room_tokens=48)
    prompt = tokens(1, 200)
    row = ours.open(CONTEXT_TOKENS)

    def expected(held: list[int]) -> Logits:
        return theirs.extend(theirs.open(CONTEXT_TOKENS), held)

    for start in range(0, 200, 30):
        logits = ours.extend(row, prompt[start : start + 30])
        assert_equal("fp32", logits, expected(prompt[: start + 30]))
    ours.rewind(row, 90)
    assert_equal("fp32", ours.extend(row, prompt[90:150]), expected(prompt[:150]))
    copy = ours.copy(row, 100, CONTEXT_TOKENS)
    one, other = ours.decode([(row, 5), (copy, 6)])
    assert_equal("fp32", one, expected([*prompt[:150], 5]))
    assert_equal("fp32", other, expected([*prompt[:100], 6]))


@pytest.mark.parametrize("kind", ["batched", "generator"])
def test_a_context_shorter_than_the_window_is_answered(tmp_path: Path, kind: str) -> None:
    folder = write_preset("tiny", tmp_path / "window", window=600)
    load = Load(
        path=str(folder), execution_provider="cpu", threads=1, context_tokens=256, max_concurrent=2, engine=kind
    )
    engine, ready = load_engine(load)
    assert (ready.engine, ready.is_proven) == (kind, True if kind == "batched" else None)
    events = engine.handle(Generate(request_id="a", messages=[{"role": "user", "content": "Hi"}], max_tokens=5))
    while not engine.is_idle:
        events += engine.step()
    assert isinstance(events[-1], Finished)


def test_a_row_that_is_full_fails_and_the_others_of_its_batch_go_on(models: Mapping[str, Path]) -> None:
    backend = Batched(models["int4"])
    full, free = backend.open(4), backend.open(8)
    backend.extend(full, [1, 2, 3, 4])
    backend.extend(free, [1, 2, 3, 4])
    failed, fine = backend.decode([(full, 5), (free, 5)])
    assert isinstance(failed, GenerationFailed)
    assert "max length" in failed.message
    assert not isinstance(fine, GenerationFailed)


def test_what_there_is_no_memory_for_fails_its_own_row_only(models: Mapping[str, Path]) -> None:
    backend, alone = Batched(models["int4"]), Batched(models["int4"])
    rows = [backend.open(64) for _ in range(3)]
    for row in rows:
        backend.extend(row, tokens(row, 10))
    backend.calls.costly_token = 99
    first, failed, last = backend.decode([(rows[0], 1), (rows[1], 99), (rows[2], 3)])
    assert isinstance(failed, GenerationFailed)
    told = Failed(request_id="x", code=failed.code, message=failed.message)
    assert kind_of_request(told) is FailureKind.OUT_OF_MEMORY
    for seed, (token, result) in {0: (1, first), 2: (3, last)}.items():
        row = alone.open(64)
        alone.extend(row, tokens(seed, 10))
        (expected,) = alone.decode([(row, token)])
        assert isinstance(expected, np.ndarray)
        assert_equal("int4", result, expected)
    (again,) = backend.decode([(rows[1], 7)])
    assert not isinstance(again, GenerationFailed)


@pytest.mark.skipif(sys.platform == "win32", reason="it is so there without a guard")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_is_touched_but_what_rows_hold(models: Mapping[str, Path], precision: str) -> None:
    """Lengths up to, at and beyond a step in which memory is held; a row that moves, one that is copied and checked."""
    guarded, plain = Batched(models[precision], reserve=Guarded), Batched(models[precision])
    for backend in (guarded, plain):
        rows = [backend.open(CONTEXT_TOKENS) for _ in range(4)]
        for row, size in zip(rows, (254, 3, 255, 100), strict=True):
            backend.extend(row, tokens(row, size))
        for step in range(3):
            backend.decode([(row, step) for row in rows])
        backend.close(rows[1])
        backend.decode([(rows[0], 1), (rows[3], 2)])
        copied = backend.copy(rows[2], 256, CONTEXT_TOKENS)
        backend.verify(copied, [1, 2, 3])
        backend.extend(backend.open(CONTEXT_TOKENS), tokens(9, CONTEXT_TOKENS))
    assert np.array_equal(guarded.extend(copied, [4, 5]), plain.extend(copied, [4, 5]))


def test_a_row_that_the_system_has_no_memory_for_fails_and_the_others_go_on(models: Mapping[str, Path]) -> None:
    left = [True]

    class Scarce:
        def __init__(self, size: int) -> None:
            self._memory = reserved(size)
            self.content = self._memory.content

        def hold(self, start: int, size: int) -> None:
            if not left[0]:
                raise MemoryError("out of memory: nothing is left")
            self._memory.hold(start, size)

        def give_back(self, start: int, size: int) -> None:
            self._memory.give_back(start, size)

    backend = Batched(models["int4"], slots=4, reserve=Scarce)
    rows = [backend.open(CONTEXT_TOKENS) for _ in range(2)]
    backend.extend(rows[0], tokens(0, 10))
    backend.extend(rows[1], tokens(1, 256))
    left[0] = False
    fine, failed = backend.decode([(rows[0], 1), (rows[1], 2)])
    assert not isinstance(fine, GenerationFailed)
    assert isinstance(failed, GenerationFailed)
    told = Failed(request_id="x", code=failed.code, message=failed.message)
    assert kind_of_request(told) is FailureKind.OUT_OF_MEMORY
    with pytest.raises(GenerationFailed, match="out of memory"):
        backend.copy(rows[0], 5, CONTEXT_TOKENS)
    with pytest.raises(GenerationFailed, match="out of memory"):
        backend.extend(backend.open(CONTEXT_TOKENS), [1])
    backend.open(8)  # the copy that failed has left its place
    left[0] = True
    assert all(not isinstance(each, GenerationFailed) for each in backend.decode([(rows[0], 1), (rows[1], 2)]))


def test_a_piece_that_fails_leaves_the_row_as_it_was(models: Mapping[str, Path]) -> None:
    backend = Batched(models["fp32"])
    row, other = backend.open(64), backend.open(64)
    for each in (row, other):
        backend.extend(each, tokens(1, 10))
    backend.calls.costly_token = 99
    with pytest.raises(GenerationFailed, match="allocate"):
        backend.extend(row, [1, 99])
    assert np.array_equal(backend.extend(row, [1, 2]), backend.extend(other, [1, 2]))


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_token_that_the_model_does_not_have_fails(models: Mapping[str, Path], token: int) -> None:
    """The kernel of a quantised table would read what lies beyond it."""
    backend = Batched(models["int4"])
    rows = [backend.open(64), backend.open(64)]
    for row in rows:
        backend.extend(row, [1, 2])
    failed, fine = backend.decode([(rows[0], token), (rows[1], 3)])
    assert isinstance(failed, GenerationFailed)
    assert not isinstance(fine, GenerationFailed)
    with pytest.raises(GenerationFailed, match="no token"):
        backend.extend(rows[0], [1, token])


def test_no_more_rows_than_there_are_and_one_that_is_closed_makes_room(models: Mapping[str, Path]) -> None:
    backend = Batched(models["int4"], slots=2)
    first = backend.open(8)
    backend.open(8)
    with pytest.raises(GenerationFailed, match="All 2 rows"):
        backend.open(8)
    with pytest.raises(GenerationFailed, match="All 2 rows"):
        backend.copy(first, 0, 8)
    backend.close(first)
    backend.close(first)
    backend.open(8)


def test_more_room_than_the_model_has_fails(models: Mapping[str, Path]) -> None:
    with pytest.raises(GenerationFailed, match="over the 512"):
        Batched(models["int4"]).open(CONTEXT_TOKENS + 1)


def test_a_row_gets_more_room_or_less_but_never_less_than_it_holds(models: Mapping[str, Path]) -> None:
    backend, other = Batched(models["int4"]), generator(models["int4"])
    row, twin = backend.open(4), other.open(CONTEXT_TOKENS)
    backend.extend(row, [1, 2, 3, 4])
    backend.resize(row, 8)
    backend.extend(row, [5, 6])
    backend.resize(row, 6)
    with pytest.raises(GenerationFailed, match="max length"):
        backend.extend(row, [7])
    with pytest.raises(GenerationFailed, match="no room in 5"):
        backend.resize(row, 5)
    with pytest.raises(GenerationFailed, match="over the 512"):
        backend.resize(row, CONTEXT_TOKENS + 1)
    backend.resize(row, CONTEXT_TOKENS)
    other.extend(twin, [1, 2, 3, 4, 5, 6])
    assert_equal("int4", backend.extend(row, [7]), other.extend(twin, [7]))


def test_a_row_cannot_be_cut_or_copied_beyond_what_it_holds(models: Mapping[str, Path]) -> None:
    backend = Batched(models["int4"])
    row = backend.open(16)
    backend.extend(row, [1, 2, 3])
    with pytest.raises(GenerationFailed, match="cannot be cut"):
        backend.rewind(row, 4)
    with pytest.raises(GenerationFailed, match="more than the row has"):
        backend.copy(row, 4, 16)
    with pytest.raises(GenerationFailed, match="has room for"):
        backend.copy(row, 3, 2)


def test_adapters_are_for_the_other_engine(models: Mapping[str, Path]) -> None:
    with pytest.raises(GenerationFailed, match="adapter"):
        Batched(models["int4"]).open(16, "style")


def test_nothing_to_read_is_an_error(models: Mapping[str, Path]) -> None:
    backend = Batched(models["int4"])
    with pytest.raises(GenerationFailed, match="nothing to read"):
        backend.extend(backend.open(16), [])


def test_a_row_can_be_filled_to_the_last_token_of_the_context(models: Mapping[str, Path]) -> None:
    backend, other = Batched(models["int4"]), generator(models["int4"])
    prompt = tokens(9, CONTEXT_TOKENS - 1)
    row, twin = backend.open(CONTEXT_TOKENS), other.open(CONTEXT_TOKENS)
    backend.extend(row, prompt)
    other.extend(twin, prompt)
    (last,) = backend.decode([(row, 5)])
    assert_equal("int4", last, other.extend(twin, [5]))
    (full,) = backend.decode([(row, 5)])
    assert isinstance(full, GenerationFailed)


def test_a_graph_with_all_logits_gives_the_same(models: Mapping[str, Path]) -> None:
    """As one is run whose head could not be changed."""
    folder = models["int4"]
    selective, whole = Batched(folder), Batched(folder, decoder=dataclasses.replace(described(folder), head=None))
    prompt = tokens(2, 50)
    one, other = selective.open(128), whole.open(128)
    assert np.array_equal(selective.extend(one, prompt), whole.extend(other, prompt))
    assert np.array_equal(selective.verify(one, [1, 2, 3]), whole.verify(other, [1, 2, 3]))


def _with_last_position_only(folder: Path) -> Path:
    """As the library's builder exports it with ``prune_lm_head``."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    head = next(node for node in model.graph.node if "logits" in node.output)
    last = onnx.helper.make_node("Constant", [], ["last"], value_ints=[-1])
    picked = onnx.helper.make_node("Gather", [head.input[0], "last"], ["picked"], axis=1)
    head.input[0] = "picked"
    model.graph.node.extend([last, picked])
    onnx.save(model, folder / "model.onnx")
    return folder


def test_a_graph_with_the_last_logits_only_decodes_but_cannot_check_tokens(tmp_path: Path) -> None:
    folder = _with_last_position_only(write_preset("tiny", tmp_path / "pruned"))
    ours, theirs = Batched(folder), generator(folder)
    assert not ours.can_verify
    rows = [(ours.open(128), theirs.open(128)) for _ in range(3)]
    for size, (row, twin) in enumerate(rows, 20):
        assert_equal("int4", ours.extend(row, tokens(size, size)), theirs.extend(twin, tokens(size, size)))
    for result, (_, twin) in zip(ours.decode([(row, 7) for row, _ in rows]), rows, strict=True):
        assert_equal("int4", result, theirs.extend(twin, [7]))
    with pytest.raises(GenerationFailed, match="last position"):
        ours.verify(rows[0][0], [1, 2])
