"""``GET /slmreg/events``: what happens to the registry, as server-sent events.

Follow first, then list: what happens in between is then not lost. A client that comes back says with ``Last-Event-ID``
(every browser's EventSource does) or ``last_event_id`` which event it saw last, and gets what it missed. The event
``registry.reset`` says that this cannot be done, and everything has to be listed again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from daemon.api.streaming import EventStream
from daemon.events import Event, EventLog, Follower

# How soon a client that was cut off should come back.
RETRY_MS = 2000
# The buffers on the way to a client hold thousands of events; one that then takes nothing for so long is not reading.
STUCK_S = 10.0
HEARTBEAT = b": still here\n\n"


def events_router(log: EventLog, *, heartbeat_s: Callable[[], float]) -> APIRouter:
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/events", response_model=None)
    async def follow(
        last_event_id: Annotated[str | None, Query(description="go on after this event")] = None,
        last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> Response:
        """Changes as they happen.

        A browser that comes back by itself repeats the query it began with, and says in the header what it saw since.
        """
        follower = log.follow(last_event_id_header or last_event_id)

        async def leave() -> None:
            follower.close()

        return EventStream(_frames(follower, heartbeat_s()), close=leave, stuck_s=STUCK_S)

    return router


async def _frames(follower: Follower, heartbeat_s: float) -> AsyncIterator[bytes]:
    # An id without data is no event, but a client remembers it: one that is cut off before its first event can resume.
    start = f"id: {follower.position}\n" if follower.position is not None else ""
    yield f"retry: {RETRY_MS}\n{start}\n".encode()
    async for events in follower.batches(idle_s=heartbeat_s):
        yield b"".join(map(_frame, events)) or HEARTBEAT


def _frame(event: Event) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.kind.encode(), event.data)
