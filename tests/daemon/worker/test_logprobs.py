from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.worker.logprobs import LEAST_LOGPROB, Logprobs
from daemon.worker.sampling import Logits
from daemon.worker.vocabulary import Vocabulary


class Bytes:
    def bytes_of(self, token: int) -> bytes:
        return bytes([token])


def logits_of(*probabilities: float) -> Logits:
    # Any constant may be added to logits.
    return np.log(np.array(probabilities, dtype=np.float32)) + 7


def test_a_token_has_the_log_of_its_probability_and_the_likeliest_beside_it() -> None:
    entry = Logprobs(Bytes(), 2).of(logits_of(0.2, 0.5, 0.3), 0)
    assert entry.logprob == pytest.approx(math.log(0.2), abs=1e-5)
    assert [each.bytes for each in entry.top] == [[1], [2]]
    assert [each.logprob for each in entry.top] == pytest.approx([math.log(0.5), math.log(0.3)], abs=1e-5)
    assert entry.top[0].top == []


@pytest.mark.parametrize(("top", "count"), [(0, 0), (3, 3), (20, 3)])
def test_as_many_alternatives_as_asked_for_and_there_are(top: int, count: int) -> None:
    assert len(Logprobs(Bytes(), top).of(logits_of(0.2, 0.5, 0.3), 1).top) == count


def test_the_logits_stay_as_they_are_and_half_precision_will_do() -> None:
    logits = np.array([1, 2, 3], dtype=np.float16)
    entry = Logprobs(Bytes(), 1).of(logits, 2)
    assert logits.tolist() == [1, 2, 3]
    assert entry.logprob == pytest.approx(-0.4076, abs=1e-3)


def test_an_impossible_token_has_a_number_that_json_can_hold() -> None:
    entry = Logprobs(Bytes(), 2).of(np.array([0, -np.inf], dtype=np.float32), 1)
    assert entry.logprob == LEAST_LOGPROB
    assert json.loads(json.dumps(entry.top[1].logprob)) == LEAST_LOGPROB


def test_a_part_of_a_character_has_its_bytes_and_a_mark_as_text() -> None:
    entry = Logprobs(Bytes(), 0).of(np.zeros(256, dtype=np.float32), 0xC3)
    assert (entry.token, entry.bytes) == ("\ufffd", [0xC3])


def vocabulary(folder: Path, document: Any) -> Vocabulary:
    (folder / "tokenizer.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return Vocabulary(folder, lambda token: f"<{token}>")


def test_byte_level_tokens_are_the_bytes_they_stand_for(tmp_path: Path) -> None:
    pieces = {"Ġhello": 0, "Ã": 1, "©": 2, "Ċ": 3, "ĠÃ©": 4}
    document = {"model": {"type": "BPE", "vocab": pieces}, "decoder": {"type": "ByteLevel"}}
    subject = vocabulary(tmp_path, document)
    assert [subject.bytes_of(token) for token in range(5)] == [b" hello", b"\xc3", b"\xa9", b"\n", " é".encode()]


def test_sentencepiece_tokens_are_their_text_and_their_bytes(tmp_path: Path) -> None:
    steps = [{"type": "Replace"}, {"type": "ByteFallback"}]
    document = {
        "model": {"type": "Unigram", "vocab": [["\u2581hello", -1.0], ["<0xC3>", -2.0], ["é", -3.0]]},
        "decoder": {"type": "Sequence", "decoders": steps},
        "added_tokens": [{"id": 9, "content": "<|end|>"}],
    }
    subject = vocabulary(tmp_path, document)
    assert [subject.bytes_of(token) for token in (0, 1, 2, 9)] == [b" hello", b"\xc3", "é".encode(), b"<|end|>"]


@pytest.mark.parametrize("document", ["", "{", "[]", "{}", '{"model": 3}', '{"model": {"vocab": [1]}}', "[" * 100_000])
def test_tokens_that_no_file_tells_are_decoded(tmp_path: Path, document: str) -> None:
    assert vocabulary(tmp_path, document).bytes_of(7) == b"<7>"
    assert Vocabulary(tmp_path / "nowhere", str).bytes_of(7) == b"7"
