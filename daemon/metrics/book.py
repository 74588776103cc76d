"""``Metrics``: what happened so far, counted as it happens. It knows nothing of Prometheus' format.

Invariant: only models that were found here become labels, and only so many of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from daemon.metrics import families
from daemon.metrics.families import MAX_MODELS, OTHER, Family
from daemon.metrics.tallies import Counter, Histogram, Sample
from daemon.pool.launch import Event
from daemon.pool.observer import FailedLoad, Loaded
from daemon.pool.protocol import Accepted, Delta, Embedded, Failed, Finished
from daemon.pool.session import Leaving
from registry.model import Model, Task

Reading = tuple[Family, Iterator[Sample]]


class Metrics:
    """Told by the pool (it is a ``daemon.pool.observer.Observer``), the answers and the requests. Any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, max_models: int = MAX_MODELS) -> None:
        self.clock = clock
        self._max_models = max_models
        self._models: set[str] = set()
        self._failed: set[str] = set()
        self._lock = threading.Lock()
        self._in_flight = 0
        self._requests = Counter(families.REQUESTS)
        self._request_seconds = Histogram(families.REQUEST_SECONDS)
        self.prompt_tokens = Counter(families.PROMPT_TOKENS)
        self.cached_tokens = Counter(families.CACHED_TOKENS)
        self.completion_tokens = Counter(families.COMPLETION_TOKENS)
        self.answers = Counter(families.ANSWERS)
        self.first_token_seconds = Histogram(families.FIRST_TOKEN_SECONDS)
        self.between_tokens_seconds = Histogram(families.BETWEEN_TOKENS_SECONDS)
        self.wait_seconds = Histogram(families.WAIT_SECONDS)
        self._loads = Counter(families.LOADS)
        self._load_seconds = Histogram(families.LOAD_SECONDS)
        self._unloads = Counter(families.UNLOADS)
        self._failures = Counter(families.FAILURES)
        self._out_of_memory = Counter(families.OUT_OF_MEMORY)
        self._restarts = Counter(families.RESTARTS)
        self._selections = Counter(families.SELECTIONS)

    def read(self) -> Iterator[Reading]:
        """Every metric that is counted here, with its samples."""
        yield families.IN_FLIGHT, iter((Sample((), self._in_flight),))
        for each in vars(self).values():
            if isinstance(each, Counter | Histogram):
                yield each.family, each.samples()

    # -- requests

    def request_began(self) -> None:
        with self._lock:
            self._in_flight += 1

    def request_ended(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """``route`` and ``method`` out of a bounded set."""
        with self._lock:
            self._in_flight -= 1
        self._requests.add(route, method, f"{status // 100}xx")
        self._request_seconds.observe(seconds, route, method)

    # -- answers

    def selected(self, task: Task, model: Model) -> None:
        """A request left the choice to slmreg."""
        self._selections.add(str(task), self.label(model.id))

    def meter(self, model: Model, *, asked_s: float) -> AnswerMeter:
        """For one answer, whose turn has come just now; ``asked_s`` is when the model was asked for, by ``clock``."""
        label = self.label(model.id)
        self.wait_seconds.observe(self.clock() - asked_s, label)
        return AnswerMeter(self, label, asked_s)

    def label(self, model_id: str) -> str:
        """Of a model that there is."""
        with self._lock:
            if model_id not in self._models and len(self._models) >= self._max_models:
                return OTHER
            self._models.add(model_id)
            return model_id

    # -- the pool

    def loaded(self, load: Loaded) -> None:
        label = self.label(load.model.id)
        self._loads.add(label)
        self._load_seconds.observe(load.load_s)
        if label in self._failed:
            self._failed.discard(label)
            self._restarts.add(label)

    def failed(self, failure: FailedLoad) -> None:
        label = self.label(failure.model.id)
        self._failed.add(label)
        self._failures.add(label, str(failure.kind))

    def unloaded(self, model: Model, reason: Leaving, why: str) -> None:
        self._unloads.add(self.label(model.id), str(reason))

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        self._out_of_memory.add(self.label(model.id))


class AnswerMeter:
    """Told every event of one answer. A piece of it costs some microseconds, however many tokens it has."""

    def __init__(self, metrics: Metrics, label: str, asked_s: float) -> None:
        self._metrics = metrics
        self._label = label
        self._asked_s = asked_s
        self._tokens = 0
        self._last_s: dict[int, float] = {}
        self._ended_by: str | None = None

    def note(self, event: Event) -> None:
        if isinstance(event, Delta):
            self._note_tokens(event)
        elif isinstance(event, Accepted):
            self._metrics.prompt_tokens.add(self._label, count=event.prompt_tokens)
        elif isinstance(event, Finished):
            self._ended_by = event.finish_reason
            self._metrics.cached_tokens.add(self._label, count=event.cached_tokens)
            # The last ones may have no text of their own.
            self._metrics.completion_tokens.add(self._label, count=max(0, event.completion_tokens - self._tokens))
        elif isinstance(event, Embedded):
            self._ended_by = "embedded"
            self._metrics.prompt_tokens.add(self._label, count=event.prompt_tokens)
        elif isinstance(event, Failed):
            self._ended_by = "failed"

    def close(self) -> None:
        """The answer is over."""
        self._metrics.answers.add(self._label, self._ended_by or "unfinished")

    def _note_tokens(self, delta: Delta) -> None:
        if delta.tokens <= 0:
            return
        now_s = self._metrics.clock()
        last_s = self._last_s.get(delta.choice)
        if last_s is not None:
            self._metrics.between_tokens_seconds.observe(
                (now_s - last_s) / delta.tokens, self._label, count=delta.tokens
            )
        elif not self._last_s:
            self._metrics.first_token_seconds.observe(now_s - self._asked_s, self._label)
        self._last_s[delta.choice] = now_s
        self._tokens += delta.tokens
        self._metrics.completion_tokens.add(self._label, count=delta.tokens)
