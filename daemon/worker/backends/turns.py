"""The library's own engine, for models built with paged attention: it batches, samples and shares its cache by itself.

Such models run on GPUs only (CUDA, WebGPU). The engine takes every other model too, but then serves four requests at a
time, and the next ones when all four have ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime_genai as og

from daemon.worker.sampling import SamplingParams
from registry.errors import GenerationFailed

# One run of the engine tells at most one token of each request of its batch.
_EVENTS_AT_ONCE = 256
_LENGTH_REASONS = (og.FinishReason.MAX_GENERATED_TOKENS, og.FinishReason.MAX_SESSION_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEvent:
    """What happened in a turn: a ``token``, its end for a ``reason`` ("stop" or "length"), or an ``error``."""

    turn: int
    token: int | None = None
    reason: str | None = None
    error: str | None = None
    cached_tokens: int = 0


class Turns(Protocol):
    """Answers of one loaded model, each with a number. Those that ended must be closed too."""

    def start(self, tokens: Sequence[int], sampling: SamplingParams, *, max_tokens: int, min_tokens: int) -> int:
        """Begin an answer to ``tokens``. Raises GenerationFailed."""
        ...

    def run(self) -> list[TurnEvent]:
        """Advance all by a step. Raises GenerationFailed, and all answers are lost."""
        ...

    def close(self, turn: int) -> None:
        """Give an answer up, wherever it is, and its cache back."""
        ...


class EngineTurns:
    """Answers of onnxruntime-genai's ``Engine``."""

    def __init__(self, model: og.Model) -> None:
        self._engine = og.Engine(model)
        self._buffer = self._engine.create_event_buffer(_EVENTS_AT_ONCE)
        self._turns: dict[int, tuple[og.Request, int]] = {}
        self._numbers = itertools.count()

    def start(self, tokens: Sequence[int], sampling: SamplingParams, *, max_tokens: int, min_tokens: int) -> int:
        try:
            request = self._engine.create_request()
            options = _options(request, sampling)
            options.set_max_generated_tokens(max_tokens)
            options.set_min_generated_tokens(min(min_tokens, max_tokens))
            turn_id = request.begin_turn(np.asarray(tokens, dtype=np.int32), options)
        except Exception as error:
            raise _converted(error) from error
        turn = next(self._numbers)
        self._turns[turn] = (request, turn_id)
        return turn

    def run(self) -> list[TurnEvent]:
        try:
            events = list(self._engine.run(self._buffer))
        except Exception as error:
            raise _converted(error) from error
        numbers = {request: turn for turn, (request, _) in self._turns.items()}
        return [_told(numbers[event.request], event) for event in events if event.request in numbers]

    def close(self, turn: int) -> None:
        request, turn_id = self._turns.pop(turn)
        try:
            request.cancel_turn(turn_id)
            request.close()
        except RuntimeError as error:
            raise _converted(error) from error


def _options(request: og.Request, sampling: SamplingParams) -> og.TurnOptions:
    options = og.TurnOptions(request)
    options.set_do_sample(sampling.temperature > 0)
    options.set_repetition_penalty(sampling.repetition_penalty)
    if sampling.temperature > 0:
        options.set_temperature(sampling.temperature)
        options.set_top_p(sampling.top_p)
        options.set_top_k(sampling.top_k)
        if sampling.seed is not None:
            options.set_seed(sampling.seed % 2**31)
    return options


def _told(turn: int, event: og.EngineEvent) -> TurnEvent:
    flags = int(event.flags)
    if flags & int(og.EngineEventFlags.FAILED):
        return TurnEvent(turn=turn, error=event.error_code.name)
    is_end = bool(flags & int(og.EngineEventFlags.TURN_FINISHED))
    reason = "length" if event.finish_reason in _LENGTH_REASONS else "stop"
    return TurnEvent(
        turn=turn,
        token=int(event.token) if flags & int(og.EngineEventFlags.TOKEN) else None,
        reason=reason if is_end else None,
        cached_tokens=int(event.usage.cached_prompt_tokens) if is_end else 0,
    )


def _converted(error: Exception) -> GenerationFailed:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return GenerationFailed(f"The engine failed at this request: {reason}")
