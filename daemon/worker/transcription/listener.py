"""Whisper in onnxruntime-genai: a window of sound in, then tokens, and the logits of what comes next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnxruntime_genai as og

from daemon.worker.reasons import failed_at_request
from daemon.worker.sampling import Logits
from registry.errors import InvalidRequest


class Listener(Protocol):
    """One loaded model. Rows are named by numbers that it gives out; each has heard one window."""

    def hear(self, window: bytes, first: str) -> tuple[int, Logits]:
        """A new row that has heard an audio file and begins with the special token ``first``; and its logits.

        Raises InvalidRequest for what is no audio, GenerationFailed.
        """
        ...

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        """Raises GenerationFailed."""
        ...

    def close(self, row: int) -> None:
        """Give the row's memory back."""
        ...


class WhisperListener:
    """A ``Listener`` over a model of onnxruntime-genai."""

    def __init__(self, model: og.Model, *, context_tokens: int) -> None:
        self._model = model
        self._processor = model.create_multimodal_processor()
        self._context_tokens = context_tokens
        self._rows: dict[int, og.Generator] = {}
        self._numbers = itertools.count()

    def hear(self, window: bytes, first: str) -> tuple[int, Logits]:
        try:
            inputs = self._processor([first], audios=og.Audios.open_bytes(window))
        except RuntimeError as error:
            reason = str(error).splitlines()[0] if str(error) else "no reason given"
            raise InvalidRequest(f"The audio cannot be used: {reason}", param="file") from error
        try:
            params = og.GeneratorParams(self._model)
            params.set_search_options(
                max_length=self._context_tokens, batch_size=1, num_beams=1, num_return_sequences=1, do_sample=False
            )
            generator = og.Generator(self._model, params)
            generator.set_inputs(inputs)
            logits = _last(generator)
        except Exception as error:
            raise failed_at_request(error) from error
        row = next(self._numbers)
        self._rows[row] = generator
        return row, logits

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        generator = self._rows[row]
        try:
            generator.append_tokens(np.asarray(tokens, dtype=np.int32))
            return _last(generator)
        except Exception as error:
            raise failed_at_request(error) from error

    def close(self, row: int) -> None:
        self._rows.pop(row, None)


def _last(generator: og.Generator) -> Logits:
    logits = generator.get_logits()
    last: Logits = logits.reshape(-1, logits.shape[-1])[-1]
    return last
