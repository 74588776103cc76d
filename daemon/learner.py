"""``Learner``: what loads and answers teach about the models of this machine, kept at hand and written down.

Invariants: what is told is folded in at once and exactly, and published when it differs noticeably from what was
published before: whoever chooses then weighs all models again. A clean stop loses nothing, a crash some seconds; and
nothing that goes wrong in writing reaches whoever is answering.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from daemon.pool.observer import FailedLoad, Loaded
from daemon.pool.session import Leaving
from daemon.setbacks import Setbacks
from registry.experience import Measurement
from registry.model import Device, Model
from selector.learning import after_answer, after_load, is_of, nothing_measured
from selector.selection import Setback

log = logging.getLogger("slmreg.learner")

# What a crash may lose, and how seldom a busy daemon writes (judged).
WRITE_EVERY_S = 5.0
# A change by less than this changes no choice worth the time of making it (judged; speeds of one model vary by 10% from
# answer to answer).
NOTICEABLE = 0.05
_FIGURES = ("load_s", "resident_bytes", "peak_bytes", "tokens_per_second", "prompt_tokens_per_second", "ttft_s")

_Key = tuple[str, str, Device, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A finished answer. ``ttft_s`` is from the moment that the engine took it up, ``decode_s`` from there to the end.

    ``is_alone``: nothing else was answered or loaded meanwhile. ``cached_tokens`` of the prompt were not read again.
    ``peak_bytes`` is the process's, None if not known.
    """

    model: Model
    threads: int
    prompt_tokens: int
    completion_tokens: int
    ttft_s: float
    decode_s: float
    is_alone: bool
    peak_bytes: int | None = None
    cached_tokens: int = 0


class Learner:
    """Told by the pool (it is a ``daemon.pool.observer.Observer``) and the answers; safe to ask from any thread."""

    def __init__(
        self,
        record: Callable[[Iterable[Measurement]], None],
        known: Iterable[Measurement],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``record`` writes down, ``known`` was written down before; ``now`` is Unix time."""
        self._record = record
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._is_failing = False
        self._exact: dict[_Key, Measurement] = {_key(each): each for each in known}
        self._published = dict(self._exact)
        self._measurements = tuple(self._published.values())
        self._unwritten: dict[_Key, Measurement] = {}
        self._setbacks = Setbacks()

    # -- what it knows

    def measurements(self) -> tuple[Measurement, ...]:
        """The same object until something noticeable is learned; see ``NOTICEABLE``."""
        return self._measurements

    def latest(self) -> tuple[Measurement, ...]:
        """The same to the last answer, for a person to read."""
        with self._lock:
            return tuple(self._exact.values())

    def setbacks(self) -> tuple[Setback, ...]:
        """Models that are left alone now because they ran out of memory."""
        with self._lock:
            return self._setbacks.now(self._clock())

    # -- what it is told

    def loaded(self, load: Loaded) -> None:
        """A load worked, which ends the waiting of a setback."""
        with self._lock:
            self._setbacks.end(load.model.id, self._clock())
            before = self._before(load.model, load.threads)
            after = after_load(
                before,
                load_s=load.load_s,
                resident_bytes=load.resident_bytes,
                peak_bytes=load.peak_bytes,
                context_tokens=load.context_tokens,
                now_s=self._now(),
            )
            self._learn(after)

    def failed(self, failure: FailedLoad) -> None:
        """Only a lack of memory says something about the machine, and that is told apart."""

    def unloaded(self, model: Model, reason: Leaving, why: str) -> None:
        """Teaches nothing."""

    def answered(self, answer: Answered) -> None:
        """An answer was finished, which ends a setback for good."""
        with self._lock:
            self._setbacks.forget(answer.model.id)
            after = after_answer(
                self._before(answer.model, answer.threads),
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                ttft_s=answer.ttft_s,
                decode_s=answer.decode_s,
                is_alone=answer.is_alone,
                peak_bytes=answer.peak_bytes,
                cached_tokens=answer.cached_tokens,
                now_s=self._now(),
            )
            self._learn(after)

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        """A load, an answer or the whole process failed for lack of memory."""
        with self._lock:
            seconds = self._setbacks.add(model, need_bytes, self._clock())
        log.warning("model.out_of_memory model=%s need_bytes=%d left_alone_s=%.0f", model.id, need_bytes, seconds)

    def follow(self, models: Sequence[Model], known: Iterable[Measurement]) -> None:
        """``models`` are all that the registry knows: forget what others taught, and content that is no more.

        ``known`` is what the registry has of them; what is known here as well is newer here, and what it has lost (its
        file was damaged) is written down again.
        """
        by_id = {model.id: model for model in models}
        written = {_key(each): each for each in known}
        with self._lock:
            self._setbacks.keep_only(by_id)
            at_hand = written | self._exact
            self._exact = {key: each for key, each in at_hand.items() if _is_still(each, by_id)}
            self._unwritten |= {key: each for key, each in self._exact.items() if key not in written}
            if self._exact.keys() != self._published.keys():
                self._publish()

    def _before(self, model: Model, threads: int) -> Measurement:
        nothing = nothing_measured(model, threads=threads)
        return self._exact.get(_key(nothing), nothing)

    def _learn(self, after: Measurement) -> None:
        key = _key(after)
        self._exact[key] = self._unwritten[key] = after
        published = self._published.get(key)
        if published is None or is_noticeable(published, after):
            self._publish()

    def _publish(self) -> None:
        self._published = dict(self._exact)
        self._measurements = tuple(self._published.values())

    # -- writing down

    async def run(self, *, every_s: float = WRITE_EVERY_S) -> None:
        """Write now and then, off the event loop, until it is cancelled; ``write`` the rest after that."""
        while True:
            await asyncio.sleep(every_s)
            if self._unwritten:
                await asyncio.to_thread(self.write)

    def write(self) -> None:
        """Write down what is new. What cannot be written is kept for the next time. Blocks; any thread."""
        with self._writing:
            with self._lock:
                pending, self._unwritten = self._unwritten, {}
            if not pending:
                return
            try:
                self._record(pending.values())
            except Exception as error:  # whatever it is, it concerns figures only
                with self._lock:
                    self._unwritten = pending | self._unwritten
                if not self._is_failing:
                    log.exception("learner.not_written models=%d error=%s", len(pending), error)
                self._is_failing = True
            else:
                self._is_failing = False


def is_noticeable(before: Measurement, after: Measurement) -> bool:
    """Whether a choice may come out otherwise: a figure that is new or has moved, twice as many answers."""
    if before.context_tokens != after.context_tokens or after.answers >= 2 * before.answers > 0:
        return True
    return any(_has_moved(getattr(before, name), getattr(after, name)) for name in _FIGURES)


def _has_moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > NOTICEABLE * abs(before)


def _key(measured: Measurement) -> _Key:
    return (measured.model_id, measured.content, measured.device, measured.threads)


def _is_still(measured: Measurement, models: dict[str, Model]) -> bool:
    model = models.get(measured.model_id)
    return model is not None and is_of(measured, model)
