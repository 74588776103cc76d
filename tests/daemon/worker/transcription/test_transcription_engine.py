"""Turns, windows, languages and ends of the engine that writes down speech, over a listener that reads a script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from daemon.pool.protocol import Accepted, Cancel, Delta, Embed, Failed, Finished, ToDaemon, Transcribe
from daemon.worker.sampling import Logits
from daemon.worker.transcription.engine import TranscriptionEngine
from daemon.worker.transcription.vocabulary import Vocabulary
from registry.errors import GenerationFailed, InvalidRequest
from tests.fakes import FakeClock
from tests.sounds import tone, wav_file

END, START, ENGLISH, GERMAN, TRANSCRIBE, TRANSLATE, NO_TIMES, PREVIOUS, TIME = range(200, 209)
ADDED = {
    "<|endoftext|>": END,
    "<|startoftranscript|>": START,
    "<|en|>": ENGLISH,
    "<|de|>": GERMAN,
    "<|transcribe|>": TRANSCRIBE,
    "<|translate|>": TRANSLATE,
    "<|notimestamps|>": NO_TIMES,
    "<|startofprev|>": PREVIOUS,
    "<|0.00|>": TIME,
}
MULTILINGUAL = Vocabulary(ADDED, {"en": ENGLISH, "de": GERMAN})
ENGLISH_ONLY = Vocabulary({name: token for name, token in ADDED.items() if token not in (ENGLISH, GERMAN)}, {})


class Scripted:
    """Hears `` ab`` in every window, prefers times to everything else, and takes the language for German."""

    def __init__(self, said: str = " ab") -> None:
        self.said = said
        self.rows: dict[int, list[int]] = {}
        self.heard = 0
        self.is_deaf = False
        self.is_broken = False

    def hear(self, window: bytes, first: str) -> tuple[int, Logits]:
        if self.is_deaf:
            raise InvalidRequest("no sound", param="file")
        self.heard += 1
        self.rows[self.heard] = [ADDED[first]]
        return self.heard, self._logits(self.heard)

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        if self.is_broken:
            raise GenerationFailed("broken")
        self.rows[row] += tokens
        return self._logits(row)

    def close(self, row: int) -> None:
        del self.rows[row]

    def _logits(self, row: int) -> Logits:
        told = self.rows[row]
        spoken = [token for token in told[told.index(START) :] if token < END] if START in told else []
        logits = np.zeros(256, np.float32)
        logits[[TIME, GERMAN]] = 9, 2
        logits[ord(self.said[len(spoken)]) if len(spoken) < len(self.said) else END] = 5
        return logits


class Characters:
    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def is_silent(self, token: int) -> bool:
        return token >= END


def make(listener: Scripted, vocabulary: Vocabulary = MULTILINGUAL, **changes: Any) -> TranscriptionEngine:
    settings = {"end_ids": frozenset({END}), "context_tokens": 64, "max_concurrent": 2, "clock": FakeClock(), **changes}
    return TranscriptionEngine(listener, Characters(), vocabulary, **settings)


def ask(seconds: float = 1, request_id: str = "r", **more: Any) -> Transcribe:
    return Transcribe(request_id=request_id, audio=base64.b64encode(wav_file(tone(440, seconds))).decode(), **more)


def run(engine: TranscriptionEngine) -> list[ToDaemon]:
    events: list[ToDaemon] = []
    while not engine.is_idle:
        events += engine.step()
    return events


def text(events: Sequence[ToDaemon], request_id: str = "r") -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and event.request_id == request_id)


def test_what_is_said_comes_without_times_and_without_the_space_before_the_first_word() -> None:
    listener = Scripted()
    engine = make(listener)
    assert engine.handle(ask(language="en")) == [Accepted("r", 4)]
    events = run(engine)
    assert text(events) == "ab"
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.prompt_tokens, end.completion_tokens) == ("stop", 4, 4)
    assert listener.rows == {}


def test_windows_are_heard_one_after_the_other_and_their_texts_stand_in_a_row() -> None:
    listener = Scripted()
    engine = make(listener)
    engine.handle(ask(seconds=70))
    assert text(run(engine)) == "ab ab ab"
    assert listener.heard == 3
    assert listener.rows == {}


@pytest.mark.parametrize(
    ("wanted", "orders"),
    [
        ({"language": "en"}, [START, ENGLISH, TRANSCRIBE, NO_TIMES]),
        ({"language": "de", "task": "translate"}, [START, GERMAN, TRANSLATE, NO_TIMES]),
        ({}, [START, GERMAN, TRANSCRIBE, NO_TIMES]),
        ({"language": "en", "prompt": "xy<"}, [PREVIOUS, *b" xy<", START, ENGLISH, TRANSCRIBE, NO_TIMES]),
    ],
)
def test_the_model_is_told_language_and_task_and_what_came_before(wanted: dict[str, Any], orders: list[int]) -> None:
    listener = Scripted()
    engine = make(listener)
    (accepted,) = engine.handle(ask(**wanted))
    assert accepted == Accepted("r", len(orders))
    engine.step()
    assert listener.rows[1] == orders


def test_a_model_for_english_is_told_neither() -> None:
    listener = Scripted()
    engine = make(listener, ENGLISH_ONLY)
    engine.handle(ask(language="en"))
    engine.step()
    assert listener.rows[1] == [START, NO_TIMES]


@pytest.mark.parametrize(
    ("vocabulary", "wanted", "param"),
    [
        (MULTILINGUAL, {"language": "xx"}, "language"),
        (ENGLISH_ONLY, {"language": "de"}, "language"),
        (ENGLISH_ONLY, {"task": "translate"}, "model"),
        (MULTILINGUAL, {"task": "sing"}, "task"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(vocabulary: Vocabulary, wanted: Any, param: str) -> None:
    (failed,) = make(Scripted(), vocabulary).handle(ask(**wanted))
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == ("invalid_request", param)


@pytest.mark.parametrize("audio", ["!!!", base64.b64encode(b"no audio").decode(), ""])
def test_what_is_no_audio_is_refused(audio: str) -> None:
    (failed,) = make(Scripted()).handle(Transcribe(request_id="r", audio=audio))
    assert isinstance(failed, Failed)
    assert failed.param == "file"


def test_a_prompt_that_is_too_long_keeps_its_end() -> None:
    listener = Scripted()
    engine = make(listener)
    engine.handle(ask(language="en", prompt="x" * 100 + "y"))
    engine.step()
    told = listener.rows[1]
    assert len(told) < 64 // 2 + 6
    assert told[told.index(START) - 1] == ord("y")


def test_requests_take_turns_up_to_the_bound_and_the_others_wait() -> None:
    listener = Scripted(" abcdef")
    engine = make(listener)
    for request_id in ("one", "two", "three"):
        engine.handle(ask(request_id=request_id))
    most, events = 0, []
    while not engine.is_idle:
        events += engine.step()
        most = max(most, len(listener.rows))
    assert most == 2
    assert [text(events, each) for each in ("one", "two", "three")] == ["abcdef"] * 3
    firsts = [event.request_id for event in events if isinstance(event, Delta)][:4]
    assert firsts == ["one", "two", "one", "two"]
    assert [event.request_id for event in events if isinstance(event, Finished)] == ["one", "two", "three"]


def test_a_text_that_goes_in_circles_ends_with_its_window_and_max_tokens_ends_the_request() -> None:
    listener = Scripted("x" * 1000)
    engine = make(listener)
    engine.handle(ask(language="en"))
    events = run(engine)
    assert text(events) == "x" * 32
    engine.handle(ask(max_tokens=3))
    events = run(engine)
    end = events[-1]
    assert isinstance(end, Finished)
    assert (text(events), end.finish_reason) == ("xxx", "length")


def test_a_cancel_closes_the_row_and_one_that_waits_ends_too() -> None:
    listener = Scripted()
    engine = make(listener)
    engine.handle(ask(request_id="one"))
    engine.handle(ask(request_id="two"))
    engine.step()
    for request_id in ("one", "two"):
        (ended,) = engine.handle(Cancel(request_id))
        assert isinstance(ended, Finished)
        assert ended.finish_reason == "cancelled"
    assert (engine.is_idle, listener.rows, engine.handle(Cancel("one"))) == (True, {}, [])


@pytest.mark.parametrize(("flag", "code"), [("is_deaf", "invalid_request"), ("is_broken", "generation_failed")])
def test_a_failure_ends_its_request_and_closes_its_row(flag: str, code: str) -> None:
    listener = Scripted()
    engine = make(listener)
    engine.handle(ask())
    setattr(listener, flag, True)
    (failed,) = run(engine)
    assert isinstance(failed, Failed)
    assert (failed.code, listener.rows) == (code, {})


def test_other_requests_are_refused() -> None:
    (failed,) = make(Scripted()).handle(Embed(request_id="r", inputs=["x"]))
    assert isinstance(failed, Failed)
    assert failed.param == "model"
