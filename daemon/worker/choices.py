"""Several answers to one request: to the scheduler each is a request of its own, to the daemon they are one.

Invariant: whatever becomes of the answers, a request is accepted at most once and ends exactly once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from daemon.pool.protocol import Accepted, Delta, Failed, Finished, Pulse, ToDaemon
from daemon.worker.request import Job


class JobScheduler(Protocol):
    """What runs jobs: each is answered by Accepted, Delta ... and exactly one of Finished or Failed."""

    @property
    def is_idle(self) -> bool: ...

    def submit(self, job: Job) -> list[ToDaemon]: ...

    def cancel(self, request_id: str) -> list[ToDaemon]: ...

    def step(self) -> list[ToDaemon]: ...

    def pulse(self) -> Pulse: ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Group:
    """A request with several answers; ``job_ids`` are what the scheduler knows them by."""

    request_id: str
    job_ids: list[str]
    finished: dict[str, Finished] = field(default_factory=dict)


class Choices:
    """A scheduler whose requests may have several answers."""

    def __init__(self, scheduler: JobScheduler) -> None:
        self._scheduler = scheduler
        self._groups: dict[str, _Group] = {}

    @property
    def is_idle(self) -> bool:
        return self._scheduler.is_idle

    def pulse(self) -> Pulse:
        return self._scheduler.pulse()

    def step(self) -> list[ToDaemon]:
        return self._merged(self._scheduler.step())

    def submit(self, jobs: Sequence[Job]) -> list[ToDaemon]:
        """Queue the answers to one request: jobs with the same id and prompt."""
        if len(jobs) == 1:
            return self._scheduler.submit(jobs[0])
        request_id = jobs[0].request_id
        group = _Group(request_id=request_id, job_ids=[f"{request_id}\n{choice}" for choice in range(len(jobs))])
        events: list[ToDaemon] = []
        for job, job_id in zip(jobs, group.job_ids, strict=True):
            events += self._scheduler.submit(dataclasses.replace(job, request_id=job_id))
        # The prompts are the same: either all are accepted or none is.
        first = events[0]
        if isinstance(first, Accepted):
            self._groups |= dict.fromkeys(group.job_ids, group)
        return [dataclasses.replace(first, request_id=request_id)] if isinstance(first, Accepted | Failed) else []

    def cancel(self, request_id: str) -> list[ToDaemon]:
        """End all answers to a request; nothing if it is not known or has ended."""
        group = next((group for group in self._groups.values() if group.request_id == request_id), None)
        if group is None:
            return self._scheduler.cancel(request_id)
        return self._merged(event for job_id in group.job_ids for event in self._scheduler.cancel(job_id))

    def _merged(self, events: Iterable[ToDaemon]) -> list[ToDaemon]:
        if not self._groups:
            return list(events)
        groups = dict(self._groups)
        merged: list[ToDaemon] = []
        for event in events:
            job_id = getattr(event, "request_id", "")
            if job_id not in groups:
                merged.append(event)
            elif job_id in self._groups:  # else another answer has failed just now, and the request with it
                merged += self._of_group(groups[job_id], event)
        return merged

    def _of_group(self, group: _Group, event: ToDaemon) -> list[ToDaemon]:
        match event:
            case Delta():
                choice = group.job_ids.index(event.request_id)
                return [dataclasses.replace(event, request_id=group.request_id, choice=choice)]
            case Finished():
                group.finished[event.request_id] = event
                if len(group.finished) < len(group.job_ids):
                    return []
                self._forget(group)
                return [_whole(group)]
            case Failed():
                # One answer less than was asked for is no answer.
                self._forget(group)
                for job_id in group.job_ids:
                    self._scheduler.cancel(job_id)
                return [dataclasses.replace(event, request_id=group.request_id)]
            case _:
                return []

    def _forget(self, group: _Group) -> None:
        for job_id in group.job_ids:
            self._groups.pop(job_id, None)


def _whole(group: _Group) -> Finished:
    """The end of a request, of the ends of its answers."""
    ends = [group.finished[job_id] for job_id in group.job_ids]
    reasons = [end.finish_reason for end in ends]
    return Finished(
        request_id=group.request_id,
        finish_reason="cancelled" if "cancelled" in reasons else reasons[0],
        finish_reasons=reasons,
        stop_string=ends[0].stop_string,
        prompt_tokens=ends[0].prompt_tokens,
        cached_tokens=ends[0].cached_tokens,
        completion_tokens=sum(end.completion_tokens for end in ends),
        reasoning_tokens=sum(end.reasoning_tokens for end in ends),
        queue_s=min(end.queue_s for end in ends),
        ttft_s=min((end.ttft_s for end in ends if end.completion_tokens), default=0.0),
        decode_s=max(end.decode_s for end in ends),
    )
