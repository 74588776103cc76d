"""Speech to text through the official OpenAI client, with a real Whisper-shaped model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from registry.store import Registry
from scripts.model_factory.whisper import write_whisper
from tests.e2e.conftest import Home, Served, put, wait_for
from tests.sounds import flac_header, tone, wav_file

LOW, HIGH = wav_file(tone(200, 2)), wav_file(tone(3000, 2))
PATH = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("audio")
    put(tiny, root / "models" / "talker")
    write_whisper(root / "models" / "whisper-tiny")
    with Registry.open(root / "home" / "registry.db") as registry:
        registry.add_root(root / "models")
    with ExitStack() as stack:
        yield Home(root / "home", root / "models", stack).start(max_context_tokens=1024, max_body_bytes=2_000_000)


def send(served: Served, path: str = PATH, audio: bytes = LOW, **fields: Any) -> httpx.Response:
    files = {"file": ("speech.wav", audio, "audio/wav")}
    return httpx.post(f"{served.url}{path}", files=files, data={"model": "whisper-tiny", **fields}, timeout=60)


def test_what_is_said_is_written_down(served: Served) -> None:
    def heard(audio: bytes) -> str:
        answer = served.openai.audio.transcriptions.create(
            model="whisper-tiny", file=("speech.wav", audio), language="en"
        )
        assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
        return str(answer.text)

    assert heard(LOW) == heard(LOW) != ""
    assert heard(LOW) != heard(HIGH)


def test_a_stream_says_the_same_as_the_whole(served: Served) -> None:
    whole = send(served, language="en").json()["text"]
    events = list(
        served.openai.audio.transcriptions.create(
            model="whisper-tiny", file=("speech.wav", LOW), language="en", stream=True
        )
    )
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text.rstrip() == whole
    assert "".join(event.delta for event in events[:-1]) == events[-1].text
    assert len(events) > 3


def test_text_can_be_had_without_json_and_translations_are_another_task(served: Served) -> None:
    response = send(served, language="en", response_format="text")
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == send(served, language="en").json()["text"] + "\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer clients would rather not have it
        translated = served.openai.audio.translations.create(model="whisper-tiny", file=("speech.wav", LOW))
    assert translated.text not in ("", send(served).json()["text"])


def test_auto_is_a_model_for_speech_and_says_which(served: Served) -> None:
    response = send(served, model="auto")
    assert response.headers["x-slmreg-model"] == "whisper-tiny:0"
    assert response.headers["x-slmreg-task"] == "transcription"
    assert "x-slmreg-selection" in response.headers


def test_a_long_recording_is_heard_whole(served: Served) -> None:
    sound = wav_file(np.concatenate([tone(200, 25), np.zeros(16000, np.float32), tone(3000, 20)]))
    long, short = (send(served, audio=audio, language="en").json() for audio in (sound, wav_file(tone(200, 25))))
    assert long["usage"]["output_tokens"] > short["usage"]["output_tokens"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"response_format": "srt"}, 400, "unsupported_parameter", "response_format"),
        ({"response_format": "verbose_json"}, 400, "unsupported_parameter", "response_format"),
        ({"timestamp_granularities[]": "word"}, 400, "unsupported_parameter", "timestamp_granularities"),
        ({"language": "English"}, 400, "invalid_request", "language"),
        ({"language": "xx"}, 400, "invalid_request", "language"),
        ({"temperature": "2"}, 400, "invalid_request", "temperature"),
        ({"nonsense": "1"}, 400, "unsupported_parameter", "nonsense"),
        ({"audio": b"no sound"}, 400, "invalid_request", "file"),
        ({"audio": b""}, 400, "invalid_request", "file"),
        ({"audio": flac_header(60)}, 400, "invalid_request", "file"),
        ({"audio": bytes(2_000_001)}, 413, "body_too_large", None),
        ({"model": "talker"}, 409, "model_not_usable", None),
        ({"model": "nobody"}, 404, "model_not_found", None),
        ({"model": "auto:chat"}, 400, "invalid_request", "model"),
    ],
)
def test_what_cannot_be_honoured_is_an_error_that_names_it(
    served: Served, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    response = send(served, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert param is None or error["param"] == param


def test_a_translation_has_no_language_and_a_body_must_be_a_form_with_a_file(served: Served) -> None:
    assert send(served, "/v1/audio/translations", language="en").json()["error"]["code"] == "unsupported_parameter"
    assert served.post(PATH, {"model": "whisper-tiny"}).json()["error"]["param"] == "file"
    broken = httpx.post(f"{served.url}{PATH}", content=b"x", headers={"content-type": "multipart/form-data"})
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_request")


def test_a_chat_with_a_model_for_speech_says_what_it_can_do(served: Served) -> None:
    body = {"model": "whisper-tiny", "messages": [{"role": "user", "content": "hi"}]}
    assert "It can do transcription" in served.post("/v1/chat/completions", body).text


def test_a_client_that_leaves_stops_the_listening(served: Served) -> None:
    send(served)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{served.url}{PATH}",
            files={"file": ("speech.wav", wav_file(tone(200, 59)))},
            data={"model": "whisper-tiny"},
            timeout=httpx.Timeout(10, read=0.05),
        )
    wait_for(lambda: served.sessions()["whisper-tiny:0"]["active"] == 0, "the session to be free", timeout_s=15)
