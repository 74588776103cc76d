"""The comparison that comes before the batched engine is used: what it finds, and what it lets pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from daemon.worker.backends.base import Backend
from daemon.worker.backends.batched import opening
from daemon.worker.backends.batched.backend import BatchedBackend
from daemon.worker.backends.batched.capability import BatchedDecoder, NotBatchable
from daemon.worker.backends.batched.opening import Disproved, Wanted, open_batched
from daemon.worker.backends.batched.proof import find_difference, is_same, record
from daemon.worker.backends.generator import GeneratorBackend
from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed
from scripts.model_factory import write_preset
from tests.daemon.worker.batched.opened import Batched, described, generator

VOCABULARY = 320
WANTED = Wanted(slots=4, context_tokens=256, threads=1, is_spinning=False, session_options={}, library=None)


class ReadsOthers(Batched):
    """One row is given what another one computed."""

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        return super().decode(batch)[::-1]


class ForgetsTheCut(Batched):
    def rewind(self, row: int, length: int) -> None:
        """Nothing."""


class CopiesTooLittle(Batched):
    def copy(self, row: int, length: int, room_tokens: int) -> int:
        copied = super().copy(row, length, room_tokens)
        self.arena.buffers[0][self._rows[copied].slot, :, :length] = 0
        return copied


class ReadsTheFirstOnly(Batched):
    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        first: Logits = super().verify(row, tokens)[0]
        return first


class Fails(Batched):
    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        return [GenerationFailed("no memory") for _ in batch]


@pytest.mark.parametrize("precision", ["fp32", "int4", "int8"])
def test_the_batched_backend_agrees_with_the_generator(models: Mapping[str, Path], precision: str) -> None:
    recorded = record(generator(models[precision]), VOCABULARY)
    backend = Batched(models[precision])
    backend.poison()
    assert find_difference(backend, recorded) is None
    assert backend._rows == {}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (ReadsOthers, "in a batch"),
        (ForgetsTheCut, "max length|where tokens are checked"),
        (CopiesTooLittle, "in a copied row"),
        (ReadsTheFirstOnly, "behind a prompt"),
        (Fails, "no memory"),
    ],
)
def test_a_backend_that_does_something_else_is_found_out(
    models: Mapping[str, Path], wrong: Callable[[Path], Batched], reason: str
) -> None:
    difference = find_difference(wrong(models["int4"]), record(generator(models["int4"]), VOCABULARY))
    assert difference is not None
    assert any(part in difference for part in reason.split("|")), difference


def test_only_what_the_order_of_computation_explains_is_the_same() -> None:
    theirs = np.linspace(-3, 3, 100, dtype=np.float32)
    spread = float(theirs.std())
    assert is_same(theirs + np.float32(0.2 * spread), theirs)
    assert not is_same(theirs + np.float32(0.3 * spread), theirs)
    assert not is_same(theirs[::-1], theirs)
    assert not is_same(np.full_like(theirs, np.nan), theirs)


def test_a_model_that_was_compared_opens_without_the_generator(models: Mapping[str, Path]) -> None:
    backend = open_batched(described(models["int4"]), WANTED, reference=None)
    assert backend.extend(backend.open(8), [1, 2]).shape == (VOCABULARY,)


def test_the_generators_model_is_gone_before_the_other_one_is_opened(
    models: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[str] = []

    class Counted(GeneratorBackend):
        def __del__(self) -> None:
            alive.remove("generator")

    def reference() -> Backend:
        backend = generator(models["int4"])
        backend.__class__ = Counted
        alive.append("generator")
        return backend

    def opened(decoder: BatchedDecoder, wanted: Wanted) -> BatchedBackend:
        assert alive == []
        return real(decoder, wanted)

    real = opening._opened
    monkeypatch.setattr(opening, "_opened", opened)
    open_batched(described(models["int4"]), WANTED, reference=reference)


def test_a_model_that_does_something_else_is_not_opened(models: Mapping[str, Path], tmp_path: Path) -> None:
    other = write_preset("tiny", tmp_path / "other", seed=1)
    with pytest.raises(Disproved, match="in a batch"):
        open_batched(described(models["int4"]), WANTED, reference=lambda: generator(other))


def test_a_context_that_is_too_short_to_compare_in_is_not_used(models: Mapping[str, Path]) -> None:
    short = dataclasses.replace(WANTED, context_tokens=64)
    with pytest.raises(NotBatchable, match="64 tokens"):
        open_batched(described(models["int4"]), short, reference=lambda: generator(models["int4"]))


def test_what_onnxruntime_cannot_open_says_so(folder: Path) -> None:
    decoder = described(folder)
    (folder / "model.onnx.data").unlink(missing_ok=True)
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(NotBatchable, match="cannot be opened"):
        open_batched(decoder, WANTED, reference=None)
