"""An audio file cut into windows that Whisper can hear: 30 seconds at most, each a file of its own.

The library cuts what is longer without a word, so nothing longer ever reaches it: WAV files are cut here, where it is
quiet, and others are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from daemon.worker.transcription.wav import Samples, read_wav, write_wav
from registry.errors import InvalidRequest

WINDOW_S = 30.0
# A cut is looked for in so much of a window's end, and made in the middle of the quietest stretch of that length.
_SEARCH_S, _QUIET_S = 5.0, 0.2
# Whisper's own rate: the library brings other rates down to it, and cannot bring them up.
_RATE = 16_000
# Less is no window for the spectrum; silence is put behind it.
_LEAST_S = 0.5
_CONVERT = "Convert it: ffmpeg -i FILE -ar 16000 -ac 1 FILE.wav"

# Bit rates in kbit/s and sample rates in Hz of MPEG audio's layer III, by its two kinds of versions (ISO 11172-3).
_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")


def windows(content: bytes) -> list[bytes]:
    """Audio files of at most WINDOW_S seconds that together are ``content``. Raises InvalidRequest."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        samples, rate = read_wav(content)
        if rate < _RATE:
            samples, rate = _brought_up(samples, rate), _RATE
        return [write_wav(_padded(part, rate), rate) for part in cut(samples, rate)]
    if content.startswith(b"fLaC"):
        seconds, name = _flac_seconds(content), "FLAC"
    elif content.startswith(b"ID3") or _FRAME.match(content):
        seconds, name = _mp3_seconds(content), "MP3"
    else:
        raise InvalidRequest(f"The file is no WAV, FLAC or MP3 file. {_CONVERT}", param="file")
    if seconds is None or seconds > WINDOW_S:
        long = f"is longer than {WINDOW_S:.0f} s" if seconds is not None else "does not say how long it is"
        raise InvalidRequest(f"The {name} file {long}, and only WAV files can be cut. {_CONVERT}", param="file")
    return [content]


def cut(samples: Samples, rate: int) -> Iterator[Samples]:
    """Windows in order, each as long as it can be, with its end where the last seconds of it are quietest."""
    most = int(WINDOW_S * rate)
    while len(samples) > most:
        end = _quietest(samples[:most], rate)
        yield samples[:end]
        samples = samples[end:]
    yield samples


def _quietest(window: Samples, rate: int) -> int:
    stretch = int(_QUIET_S * rate)
    start = len(window) - int(_SEARCH_S * rate)
    energy = np.concatenate([[0.0], np.cumsum(np.square(window[start:], dtype=np.float64))])
    loudness = energy[stretch:] - energy[:-stretch]
    return start + int(loudness.argmin()) + stretch // 2


def _brought_up(samples: Samples, rate: int) -> Samples:
    """Between two samples in a straight line: what that adds is above everything that was recorded."""
    places = np.arange(len(samples) * _RATE // rate) * (rate / _RATE)
    brought: Samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return brought


def _padded(samples: Samples, rate: int) -> Samples:
    padded: Samples = np.pad(samples, (0, max(0, int(_LEAST_S * rate) - len(samples))))
    return padded


def _flac_seconds(content: bytes) -> float | None:
    """By STREAMINFO, the first block of every FLAC file; None if its encoder did not know."""
    if len(content) < 42:
        return None
    packed = int.from_bytes(content[18:26], "big")  # 20 bits of rate, 3 of channels, 5 of sample size, 36 of samples
    rate, samples = packed >> 44, packed & (2**36 - 1)
    return samples / rate if rate and samples else None


def _mp3_seconds(content: bytes) -> float | None:
    """By its frames, as far as just beyond a window; None if there is none."""
    place, seconds = 0, 0.0
    if content.startswith(b"ID3") and len(content) > 10:
        # 7 bits of each of four bytes
        place = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))
    while seconds <= WINDOW_S and (found := _FRAME.search(content, place)) is not None:
        frame = _mp3_frame(content[found.start() : found.start() + 4])
        if frame is None:
            place = found.start() + 1
            continue
        place = found.start() + frame[0]
        seconds += frame[1]
    return seconds or None


def _mp3_frame(header: bytes) -> tuple[int, float] | None:
    """Bytes and seconds of a frame; None for what is no header."""
    if len(header) < 4:
        return None
    version, bit_rate, rate, padding = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _RATES or bit_rate in (0, 15) or rate == 3:
        return None
    is_first = version == 3
    hertz = _RATES[version][rate]
    samples = 1152 if is_first else 576
    return samples // 8 * 1000 * _KILOBITS[is_first][bit_rate] // hertz + padding, samples / hertz
