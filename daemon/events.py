"""What happened to the registry, in order, for everyone who follows it.

Invariant: a follower gets every event after the one it starts from, in order and once; where that cannot be done, it is
told with ``registry.reset`` that it has to list everything again. Nobody can slow down or fill up whoever publishes:
there is one bounded memory of events, and a follower is only a place in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from registry.errors import Overloaded

RESET = "registry.reset"
# Where all places are taken: followers come and go in minutes, not in milliseconds.
RETRY_FOLLOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Event:
    """``data`` is JSON in ASCII. ``id`` is where a follower that has seen this event goes on."""

    id: str
    kind: str
    data: bytes


class EventLog:
    """Remembers the last ``max_events`` and lets at most ``max_followers`` follow. Events are published by any thread.

    Ids are ``<start>-<number>``: those of another start of the daemon are not mistaken for its own.
    """

    def __init__(
        self, *, max_events: Callable[[], int] = lambda: 1000, max_followers: Callable[[], int] = lambda: 32
    ) -> None:
        self.max_events = max_events
        self._max_followers = max_followers
        self._start = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._published = 0
        self._kinds: Counter[str] = Counter()
        self._followers: set[Follower] = set()
        self._is_closed = False

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    def published(self) -> dict[str, int]:
        """How many events there were so far, by kind."""
        with self._lock:
            return dict(self._kinds)

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        encoded = json.dumps(data, separators=(",", ":")).encode("ascii")
        with self._lock:
            self._published += 1
            self._kinds[kind] += 1
            self._events.append(Event(self._id(self._published), kind, encoded))
            while len(self._events) > self.max_events():
                self._events.popleft()
            followers = tuple(self._followers)
        for follower in followers:
            follower.wake()

    def reset(self, reason: str) -> None:
        """Tell everyone to list again, where there is more news than they could take."""
        self.publish(RESET, {"reason": reason})

    def follow(self, after: str | None = None) -> Follower:
        """A follower from now on, or from the event with the id ``after``. On the event loop that will iterate it.

        Raises Overloaded if too many follow already.
        """
        with self._lock:
            if len(self._followers) >= self._max_followers():
                raise Overloaded(
                    f"{len(self._followers)} clients follow the events already, and max_subscribers allows no "
                    "more. Close one, or raise it.",
                    retry_after_s=RETRY_FOLLOW_S,
                )
            follower = Follower(self, self._published if after is None else self._number(after))
            self._followers.add(follower)
        return follower

    def close(self) -> None:
        """Let every follower end, now and from now on. Any thread; doing it twice is fine."""
        with self._lock:
            self._is_closed = True
            followers = tuple(self._followers)
        for follower in followers:
            follower.wake()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def _leave(self, follower: Follower) -> None:
        with self._lock:
            self._followers.discard(follower)

    def _since(self, number: int | None) -> tuple[Sequence[Event], int]:
        """The events after event ``number`` and the number of the last; a reset alone where some of them are lost."""
        with self._lock:
            missed = None if number is None else self._published - number
            if missed is None or missed > len(self._events):
                lost = json.dumps({"reason": "events are lost: list the models again"}).encode("ascii")
                return (Event(self._id(self._published), RESET, lost),), self._published
            return tuple(islice(self._events, len(self._events) - missed, None)), self._published

    def _id(self, number: int) -> str:
        return f"{self._start}-{number}"

    def _number(self, event_id: str) -> int | None:
        """None for an id that this log never gave."""
        start, _, digits = event_id.partition("-")
        is_own = start == self._start and len(digits) < 20 and digits.isascii() and digits.isdigit()
        return int(digits) if is_own and int(digits) <= self._published else None


class Follower:
    """One client's place in the log. Close it, or use it as a context, to give the place to somebody else."""

    def __init__(self, log: EventLog, after: int | None) -> None:
        """``after``: the number of the last event that the client has seen; None where that is not known any more."""
        self._log = log
        self._seen = after
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._log._leave(self)

    @property
    def position(self) -> str | None:
        """The id from which a client that has taken everything up to now can go on."""
        return None if self._seen is None else self._log._id(self._seen)

    def wake(self) -> None:
        """Any thread: there is news."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits on it
            self._loop.call_soon_threadsafe(self._news.set)

    async def batches(self, *, idle_s: float) -> AsyncIterator[Sequence[Event]]:
        """News as it comes, and () after each ``idle_s`` without any; ends when the log is closed."""
        while not self._log.is_closed:
            self._news.clear()
            events, self._seen = self._log._since(self._seen)
            if not events:
                with contextlib.suppress(TimeoutError):
                    # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the news.
                    async with asyncio.timeout(idle_s):
                        await self._news.wait()
                    continue
            yield events
