"""What is true at the moment, read when somebody asks for the metrics."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from daemon import __version__
from daemon.metrics import families
from daemon.metrics.book import Metrics, Reading
from daemon.metrics.tallies import Sample
from daemon.pool.account import SessionSnapshot
from daemon.pool.session import SessionState
from daemon.versions import installed_version
from registry.model import Model, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Asks each part of the daemon for its state. ``read`` may be called by any thread, and touches the database."""

    metrics: Metrics
    sessions: Callable[[], Sequence[SessionSnapshot]]
    models: Callable[[], Sequence[Model]]
    problems: Callable[[], int]
    events: Callable[[], Mapping[str, int]]
    followers: Callable[[], int]
    log_drops: Callable[[], Mapping[str, int]]
    started_s: float = field(default_factory=time.time)

    def read(self) -> Iterator[Reading]:
        """Every metric with its samples: these, and what was counted."""
        yield from self.metrics.read()
        yield from self._sessions()
        yield families.MODELS, _counted(Counter(str(model.status) for model in self.models()), Status)
        yield families.PROBLEMS, _one(self.problems())
        yield families.EVENTS, _by_label(self.events())
        yield families.FOLLOWERS, _one(self.followers())
        yield families.LOG_DROPS, _by_label(self.log_drops())
        yield families.BUILD, iter((Sample(_versions(), 1),))
        yield families.START_TIME, _one(self.started_s)

    def _sessions(self) -> Iterator[Reading]:
        sessions = self.sessions()
        yield families.SESSIONS, _counted(Counter(str(each.state) for each in sessions), SessionState)
        for family, read in _BY_MODEL.items():
            values: Counter[str] = Counter()
            for each in sessions:
                values[self.metrics.label(each.model_id)] += read(each)
            yield family, _by_label(values)


_BY_MODEL: dict[families.Family, Callable[[SessionSnapshot], int]] = {
    families.WAITING: lambda session: session.queued,
    families.RUNNING: lambda session: session.active,
    families.MODEL_BYTES: lambda session: session.resident_bytes,
    families.PROMISED_BYTES: lambda session: session.promised_bytes,
}


def _one(value: float) -> Iterator[Sample]:
    return iter((Sample((), value),))


def _by_label(values: Mapping[str, int]) -> Iterator[Sample]:
    return (Sample((label,), value) for label, value in values.items())


def _counted(counts: Mapping[str, int], labels: type[Status] | type[SessionState]) -> Iterator[Sample]:
    """Also those that there are none of: a graph that begins with the first one misses the step to it."""
    return (Sample((str(label),), counts.get(str(label), 0)) for label in labels)


def _versions() -> tuple[str, ...]:
    engines = (installed_version(package) or "" for package in ("onnxruntime", "onnxruntime-genai"))
    return (__version__, platform.python_version(), *engines)
