"""A real Whisper-shaped model: encoder, decoder and the library's own way from sound to features."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.pool.protocol import Cancel, Delta, Failed, Finished, Load, Ready, ToDaemon, Transcribe
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.loading import load_engine
from daemon.worker.served import ServedModel
from scripts.model_factory.whisper import WHISPER_CONTEXT_TOKENS, write_whisper
from tests.sounds import flac_header, tone, wav_file


def load(folder: Path, **changes: Any) -> tuple[ServedModel, Ready]:
    fields = {"execution_provider": "cpu", "threads": 1, "context_tokens": 448, "max_concurrent": 2, **changes}
    return load_engine(Load(path=str(folder), **fields))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "whisper-tiny")


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Iterator[ServedModel]:
    yield load(folder)[0]


def ask(audio: bytes, request_id: str = "r", **more: Any) -> Transcribe:
    settings = {"language": "en", "max_tokens": 12, **more}
    return Transcribe(request_id=request_id, audio=base64.b64encode(audio).decode("ascii"), **settings)


def answered(model: ServedModel, *requests: Transcribe) -> list[ToDaemon]:
    events = [event for request in requests for event in model.handle(request)]
    while not model.is_idle:
        events += model.step()
    return events


def text(model: ServedModel, audio: bytes, **more: Any) -> str:
    events = answered(model, ask(audio, **more))
    assert isinstance(events[-1], Finished), events[-1]
    return "".join(event.text for event in events if isinstance(event, Delta))


def test_what_is_written_depends_on_what_was_heard(loaded: ServedModel) -> None:
    low, high = wav_file(tone(200, 2)), wav_file(tone(3000, 2))
    assert text(loaded, low) == text(loaded, low) != ""
    assert text(loaded, low) != text(loaded, high)


def test_language_and_task_and_prompt_change_what_is_written(loaded: ServedModel) -> None:
    audio = wav_file(tone(200, 2))
    texts = {
        text(loaded, audio),
        text(loaded, audio, language="de"),
        text(loaded, audio, task="translate"),
        text(loaded, audio, prompt="Names"),
    }
    assert len(texts) == 4


def test_the_language_is_heard_where_none_is_given(loaded: ServedModel) -> None:
    audio = wav_file(tone(200, 2))
    assert text(loaded, audio, language=None) in {text(loaded, audio, language=code) for code in ("en", "de", "fr")}


def test_requests_side_by_side_get_what_they_get_alone(loaded: ServedModel) -> None:
    sounds = {"low": wav_file(tone(200, 2)), "high": wav_file(tone(3000, 2))}
    events = answered(loaded, *(ask(audio, name) for name, audio in sounds.items()))
    for name, audio in sounds.items():
        together = "".join(e.text for e in events if isinstance(e, Delta) and e.request_id == name)
        assert together == text(loaded, audio)


def test_a_long_recording_is_heard_to_its_end(loaded: ServedModel) -> None:
    low_then_high = np.concatenate([tone(200, 29), np.zeros(8000, np.float32), tone(3000, 5)])
    events = answered(loaded, ask(wav_file(low_then_high), max_tokens=None))
    (end,) = [event for event in events if isinstance(event, Finished)]
    first = answered(loaded, ask(wav_file(tone(200, 29)), max_tokens=None))[-1]
    assert isinstance(first, Finished)
    assert end.completion_tokens > first.completion_tokens


def test_what_the_library_cannot_decode_is_the_clients_to_correct(loaded: ServedModel) -> None:
    (failed,) = [event for event in answered(loaded, ask(flac_header(5))) if isinstance(event, Failed)]
    assert (failed.code, failed.param) == ("invalid_request", "file")
    assert text(loaded, wav_file(tone(200, 1))) != ""


def test_an_answer_can_be_given_up(loaded: ServedModel) -> None:
    loaded.handle(ask(wav_file(tone(200, 2)), max_tokens=None))
    loaded.step()
    (ended,) = loaded.handle(Cancel("r"))
    assert isinstance(ended, Finished)
    assert loaded.is_idle


def test_a_model_for_english_only_has_no_languages(tmp_path: Path) -> None:
    model, _ = load(write_whisper(tmp_path / "whisper-tiny.en", languages=()))
    audio = wav_file(tone(200, 1))
    assert text(model, audio, language=None) == text(model, audio)
    (failed,) = model.handle(ask(audio, language="de"))
    assert isinstance(failed, Failed)


@pytest.mark.parametrize(
    ("file", "content"),
    [("generation_config.json", {"is_multilingual": False}), ("genai_config.json", {"vocab_size": 51_864})],
)
def test_a_model_for_english_only_may_have_languages_in_its_tokenizer(
    file: str, content: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_whisper(tmp_path / "whisper-tiny.en")
    if file == "genai_config.json":
        change(folder, **content)
    else:
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    model, _ = load(folder)
    (failed,) = model.handle(ask(wav_file(tone(200, 1)), language="de"))
    assert isinstance(failed, Failed)
    assert "only writes down English" in failed.message


def test_ready_says_what_runs(folder: Path) -> None:
    ready = load(folder)[1]
    assert (ready.engine, ready.model_type, ready.context_tokens) == (
        "transcription",
        "whisper",
        WHISPER_CONTEXT_TOKENS,
    )


def change(folder: Path, **model: Any) -> None:
    file = folder / "genai_config.json"
    config = json.loads(file.read_text("utf-8"))
    config["model"] |= model
    file.write_text(json.dumps(config), encoding="utf-8")


def test_other_transcribers_and_foreign_libraries_are_refused(tmp_path: Path) -> None:
    other = write_whisper(tmp_path / "a")
    change(other, type="parakeet_tdt")
    with pytest.raises(LoadError, match="Whisper") as error:
        load(other)
    assert error.value.code is LoadCode.UNSUPPORTED
    strange = write_whisper(tmp_path / "b")
    (strange / "ops.so").write_bytes(b"code")
    config = json.loads((strange / "genai_config.json").read_text("utf-8"))
    config["model"]["encoder"]["session_options"]["custom_ops_library"] = "ops.so"
    (strange / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(LoadError, match="native library"):
        load(strange)
    wordless = write_whisper(tmp_path / "c")
    tokenizer = json.loads((wordless / "tokenizer.json").read_text("utf-8"))
    (wordless / "tokenizer.json").write_text(json.dumps({**tokenizer, "added_tokens": []}), encoding="utf-8")
    with pytest.raises(LoadError, match="startoftranscript"):
        load(wordless)
