"""Turns, batches, bounds and ends of the engine that makes vectors, over an encoder that only counts."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import pytest

from daemon.pool.protocol import Cancel, Embed, Embedded, Failed, Finished, Generate, ToDaemon
from daemon.worker.embedding import engine as engine_module
from daemon.worker.embedding.engine import MAX_BATCH_AREA, MAX_BATCH_TEXTS, EmbeddingEngine, batches
from daemon.worker.embedding.pooling import Vectors
from registry.errors import GenerationFailed


class Lengths:
    """The vector of a text says how long it is and how many were in its batch."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def vectors(self, batch: Sequence[Sequence[int]]) -> Vectors:
        if any(9 in text for text in batch):
            raise GenerationFailed("nine")
        self.calls.append(len(batch))
        return np.array([[len(text), 1] for text in batch], np.float32)


class Digits:
    """Every character is a digit and a token; "!" is what the tokenizer cannot take."""

    def ids(self, text: str | Sequence[int]) -> list[int]:
        return [int(each) for each in text]

    def truncated(self, ids: list[int], most: int) -> list[int]:
        return ids[:most]


def make(encoder: Lengths | None = None) -> EmbeddingEngine:
    return EmbeddingEngine(encoder or Lengths(), Digits(), context_tokens=600)


def embed(*inputs: str | list[int], request_id: str = "r") -> Embed:
    return Embed(request_id=request_id, inputs=list(inputs))


def run(engine: EmbeddingEngine) -> list[ToDaemon]:
    events: list[ToDaemon] = []
    while not engine.is_idle:
        events += engine.step()
    return events


def test_vectors_come_in_the_order_of_the_inputs_whatever_their_length() -> None:
    engine = make()
    assert engine.handle(embed("1", "111", "11")) == []
    (answer,) = run(engine)
    assert isinstance(answer, Embedded)
    assert (answer.dimensions, answer.prompt_tokens) == (2, 6)
    found = np.frombuffer(base64.b64decode(answer.vectors), "<f4").reshape(3, 2)
    assert found[:, 0].tolist() == [1, 3, 2]


def test_batches_are_bounded_and_hold_every_text_once_with_texts_of_like_length() -> None:
    texts = [[0] * length for length in (600, 1, 500, *([20] * 100), 3000)]
    made = batches(texts)
    assert sorted(place for batch in made for place in batch) == list(range(len(texts)))
    assert made[0] == [103]  # too long for any bound: alone
    for batch in made[1:]:
        longest = max(len(texts[place]) for place in batch)
        assert len(batch) <= MAX_BATCH_TEXTS
        assert len(batch) * longest**2 <= MAX_BATCH_AREA


def test_requests_take_turns_batch_by_batch() -> None:
    engine = make()
    engine.handle(embed(*(["1"] * (2 * MAX_BATCH_TEXTS)), request_id="long"))
    engine.handle(embed("1", request_id="short"))
    ends = [event.request_id for event in run(engine) if isinstance(event, Embedded)]
    assert ends == ["short", "long"]


def test_a_failure_ends_its_request_alone() -> None:
    engine = make()
    engine.handle(embed("9", request_id="bad"))
    engine.handle(embed("1", request_id="good"))
    bad, good = run(engine)
    assert isinstance(bad, Failed)
    assert (bad.request_id, bad.code) == ("bad", "generation_failed")
    assert isinstance(good, Embedded)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ([], "invalid_request"),
        (["1", ""], "invalid_request"),
        (["1" * 601], "context_length_exceeded"),
        (["x"], "invalid_request"),
    ],
)
def test_what_cannot_be_honoured_fails_at_once(inputs: list[str], code: str) -> None:
    engine = make()
    (answer,) = engine.handle(embed(*inputs))
    assert isinstance(answer, Failed)
    assert (answer.code, answer.param) == (code, "input")
    assert engine.is_idle


def test_of_a_text_that_is_too_long_the_beginning_counts_where_that_was_asked_for() -> None:
    engine = make()
    assert engine.handle(Embed(request_id="r", inputs=["1" * 601, "11"], is_truncating=True)) == []
    (answer,) = run(engine)
    assert isinstance(answer, Embedded)
    assert answer.prompt_tokens == 602


def test_all_inputs_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_TOTAL_TOKENS", 4)
    engine = make()
    (answer,) = engine.handle(embed("111", "11"))
    assert isinstance(answer, Failed)
    assert "4 tokens" in answer.message


def test_an_answer_that_no_message_can_hold_says_how_many_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_VECTOR_BYTES", 16)
    engine = make()
    engine.handle(embed("1", "1", "1"))
    (answer,) = run(engine)
    assert isinstance(answer, Failed)
    assert "at most 2 inputs" in answer.message


def test_a_cancel_ends_a_request_between_two_batches() -> None:
    encoder = Lengths()
    engine = make(encoder)
    engine.handle(embed(*(["1"] * (3 * MAX_BATCH_TEXTS))))
    assert engine.step() == []
    (ended,) = engine.handle(Cancel("r"))
    assert isinstance(ended, Finished)
    assert ended.finish_reason == "cancelled"
    assert engine.is_idle
    assert engine.handle(Cancel("r")) == []
    assert len(encoder.calls) == 1


def test_a_chat_is_refused_by_a_model_that_makes_vectors() -> None:
    (answer,) = make().handle(Generate(request_id="r", messages=[]))
    assert isinstance(answer, Failed)
    assert answer.code == "invalid_request"
