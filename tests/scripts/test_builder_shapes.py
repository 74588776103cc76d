"""The comparison with the generator that the check of real builder folders makes, on a factory-made one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.worker.sampling import Logits
from registry.errors import GenerationFailed
from scripts.builder_shapes.comparison import Answer, answers, compare
from scripts.model_factory import Quantization, write_preset
from tests.daemon.worker.batched.opened import Batched, generator

MOST_ROWS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset("tiny", tmp_path_factory.mktemp("shapes") / "tiny", quantization=Quantization.FP32)


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[Answer]:
    return answers(generator(folder), 1, 16, vocabulary=320, context_tokens=200)


def test_rows_that_come_and_go_are_exact(folder: Path, expected: list[Answer]) -> None:
    tally = compare(Batched(folder), expected, 1, most_rows=MOST_ROWS)
    assert (tally.wrong, tally.ties) == (0, 0)
    assert tally.positions >= sum(len(answer.tokens) + 1 for answer in expected)
    assert 0 < tally.worst < 1e-4


class ReadsOthers(Batched):
    """One row is given what another one computed."""

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        return super().decode(batch)[::-1]


class ForgetsTheCut(Batched):
    def rewind(self, row: int, length: int) -> None:
        """Nothing."""


@pytest.mark.parametrize("wrong", [ReadsOthers, ForgetsTheCut])
def test_rows_that_are_mixed_up_are_found(folder: Path, expected: list[Answer], wrong: type[Batched]) -> None:
    try:
        tally = compare(wrong(folder), expected, 1, most_rows=MOST_ROWS)
    except GenerationFailed:
        return  # a row that was not cut is full too soon
    assert tally.wrong
