"""How one more observation changes what was measured of a model. Pure.

Averages are exponential, so that a machine that changed is believed after a few answers; an observation counts at most
as ``TRIM`` times the average or its reverse, so that one bad moment (a backup, a lid closed in the middle) does not.
"""

from __future__ import annotations

from dataclasses import replace

from registry.experience import Measurement
from registry.model import Model

# The newest observation weighs at least this much (judged: the last five count for two thirds).
NEWEST_SHARE = 0.2
TRIM = 2.0
TRIM_AFTER = 2
# Shorter prompts and answers say more about the overhead of a request than about the model.
LEAST_PROMPT_TOKENS = 32
LEAST_COMPLETION_TOKENS = 8


def nothing_measured(model: Model, *, threads: int) -> Measurement:
    """Where the first observation of ``model`` begins."""
    return Measurement(model_id=model.id, content=model.content, device=model.device, threads=threads, measured_s=0.0)


def after_load(
    before: Measurement,
    *,
    load_s: float,
    resident_bytes: int,
    peak_bytes: int | None,
    context_tokens: int,
    now_s: float,
) -> Measurement:
    """With one more load. Memory does not vary: the last word counts, and the highest peak with this context."""
    before_bytes = before.peak_bytes if before.context_tokens == context_tokens else None
    return replace(
        before,
        measured_s=now_s,
        loads=before.loads + 1,
        load_s=_averaged(before.load_s, load_s, before.loads),
        resident_bytes=resident_bytes or before.resident_bytes,
        peak_bytes=max(peak_bytes or 0, before_bytes or 0) or None,
        context_tokens=context_tokens,
    )


def after_answer(
    before: Measurement,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    ttft_s: float,
    decode_s: float,
    is_alone: bool,
    now_s: float,
    peak_bytes: int | None = None,
    cached_tokens: int = 0,
) -> Measurement:
    """With one more answer. ``is_alone``: nothing else was answered at the time, or its speed says nothing.

    ``decode_s`` is from the first token to the last. ``cached_tokens`` of the prompt did not have to be read again: how
    long the first token took then says how fast the others were read, and nothing about a whole prompt.
    """
    read_tokens = prompt_tokens - cached_tokens
    after = replace(
        before,
        measured_s=now_s,
        peak_bytes=max(peak_bytes or 0, before.peak_bytes or 0) or None,
        prompt_tokens=_averaged(before.prompt_tokens, prompt_tokens, before.answers, trim=False),
        completion_tokens=_averaged(before.completion_tokens, completion_tokens, before.answers, trim=False),
    )
    if not is_alone:
        return after
    rate = prompt_rate = None
    if completion_tokens >= LEAST_COMPLETION_TOKENS and decode_s > 0:
        rate = (completion_tokens - 1) / decode_s
    if read_tokens >= LEAST_PROMPT_TOKENS and ttft_s > 0:
        prompt_rate = read_tokens / ttft_s
    if rate is None and prompt_rate is None:
        return after
    return replace(
        after,
        answers=before.answers + 1,
        tokens_per_second=_averaged(before.tokens_per_second, rate, before.answers),
        prompt_tokens_per_second=_averaged(before.prompt_tokens_per_second, prompt_rate, before.answers),
        ttft_s=_averaged(before.ttft_s, None if cached_tokens else ttft_s, before.answers),
    )


def _averaged(average: float | None, observed: float | None, count: int, *, trim: bool = True) -> float | None:
    if observed is None:
        return average
    if average is None:
        return observed
    if trim and count >= TRIM_AFTER:
        observed = min(max(observed, average / TRIM), average * TRIM)
    share = max(NEWEST_SHARE, 1 / (count + 1))
    return average + share * (observed - average)


def is_of(measurement: Measurement, model: Model) -> bool:
    """Whether it was measured of what is in the folder now, on the device that it is for."""
    return (measurement.model_id, measurement.content, measurement.device) == (model.id, model.content, model.device)
