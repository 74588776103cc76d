"""Audio files into windows: what is cut where, and what is refused instead of being cut in silence."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pytest

from daemon.worker.transcription.audio import WINDOW_S, cut, windows
from daemon.worker.transcription.wav import read_wav, write_wav
from registry.errors import InvalidRequest
from tests.sounds import RATE, flac_header, mp3_file, tone, wav_file


def seconds_of(window: bytes) -> float:
    samples, rate = read_wav(window)
    return len(samples) / rate


def written(samples: npt.NDArray[np.float32], kind: int, bits: int, *, extended: bool = False) -> bytes:
    """A WAV file in a format that the standard library does not write."""
    whole = {8: 127.0, 24: 2.0**23 - 1, 32: 2.0**31 - 1}
    if kind == 3:
        data = samples.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = (samples * whole[8] + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        data = (samples.astype(np.float64) * whole[24]).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        data = (samples.astype(np.float64) * whole[32]).astype("<i4").tobytes()
    size = bits // 8
    header = struct.pack("<HHIIHH", 0xFFFE if extended else kind, 1, RATE, RATE * size, size, bits)
    if extended:
        header += struct.pack("<HHIH", 22, bits, 4, kind) + bytes(14)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(header)) + header
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 24), (1, 32), (3, 32), (3, 64)])
@pytest.mark.parametrize("extended", [False, True])
def test_every_usual_format_of_wav_holds_the_same_sound(kind: int, bits: int, extended: bool) -> None:
    sound = tone(440, 0.1)
    samples, rate = read_wav(written(sound, kind, bits, extended=extended))
    assert rate == RATE
    assert np.allclose(samples, sound, atol=0.02 if bits == 8 else 1e-4)


def test_channels_are_mixed_and_what_is_written_can_be_read_again() -> None:
    sound = tone(440, 0.1)
    mixed, rate = read_wav(wav_file(sound, channels=2))
    assert np.allclose(mixed, sound, atol=1e-3)
    again, _ = read_wav(write_wav(mixed, rate))
    assert np.allclose(again, mixed, atol=1e-4)


def test_a_stream_whose_size_was_never_filled_in_counts_as_far_as_it_goes() -> None:
    whole = wav_file(tone(440, 1))
    for size in (b"\xff\xff\xff\xff", b"\0\0\0\0"):
        samples, _ = read_wav(whole[:40] + size + whole[44:])
        assert len(samples) == RATE


def test_a_long_recording_is_cut_where_it_is_quiet_and_nothing_is_lost() -> None:
    sound = tone(440, 70)
    for pause_s in (27.0, 53.0):
        sound[int(pause_s * RATE) : int((pause_s + 0.4) * RATE)] = 0
    parts = list(cut(sound, RATE))
    assert np.array_equal(np.concatenate(parts), sound)
    ends = np.cumsum([len(part) for part in parts])[:-1] / RATE
    assert ends == pytest.approx([27.2, 53.2], abs=0.15)
    lengths = [seconds_of(window) for window in windows(wav_file(sound))]
    assert sum(lengths) == pytest.approx(70)
    assert max(lengths) <= WINDOW_S


def test_a_short_sound_gets_silence_behind_it_and_a_slow_one_more_samples() -> None:
    (window,) = windows(wav_file(tone(440, 0.01)))
    assert seconds_of(window) == 0.5
    (window,) = windows(wav_file(tone(440, 2, rate=8000), rate=8000))
    samples, rate = read_wav(window)
    assert (rate, len(samples)) == (RATE, 2 * RATE)
    assert np.allclose(samples[1000:1100], tone(440, 2)[1000:1100], atol=0.02)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no WAV"),
        (b"OggS" + bytes(100), "no WAV"),
        (b"RIFF\0\0\0\0WAVE", "cut off"),
        (wav_file(tone(440, 1))[:20], "cut off"),
        (wav_file(tone(440, 0)), "no sound"),
        (wav_file(tone(440, 1)).replace(b"\x01\x00\x01\x00", b"\x06\x00\x01\x00", 1), "format 6"),
        (wav_file(tone(440, 1)).replace(b"\x01\x00\x01\x00", b"\x01\x00\x00\x00", 1), "0 channels"),
        (flac_header(31), "longer than 30 s"),
        (flac_header(None), "does not say how long"),
        (b"fLaC", "does not say how long"),
        (mp3_file(31), "longer than 30 s"),
        (mp3_file(40, tag_bytes=700), "longer than 30 s"),
        (b"ID3" + bytes(100), "does not say how long"),
    ],
)
def test_what_cannot_be_heard_whole_is_refused(content: bytes, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word) as error:
        windows(content)
    assert error.value.param == "file"


@pytest.mark.parametrize("content", [flac_header(29), mp3_file(29), mp3_file(5, tag_bytes=700)])
def test_short_files_of_other_kinds_are_left_as_they_are(content: bytes) -> None:
    assert windows(content) == [content]
