from __future__ import annotations

import json

from daemon.events import EventLog
from daemon.pool.failures import FailureKind
from daemon.pool.observer import FailedLoad, Loaded, Observers
from daemon.pool.session import Leaving
from daemon.session_news import SessionNews
from registry.model import Task
from tests.fakes import a_model, on_loop

A = a_model("a")


@on_loop
async def test_what_happens_to_sessions_is_told_in_order() -> None:
    events = EventLog()
    news = SessionNews(events)
    follower = events.follow()
    everybody = Observers((news,))
    loaded = Loaded(model=A, threads=2, context_tokens=1024, load_s=1.23456, resident_bytes=1000, peak_bytes=None)
    everybody.loaded(loaded)
    everybody.failed(FailedLoad(model=A, kind=FailureKind.CRASHED, message="It died.", retry_s=8.04))
    everybody.ran_out_of_memory(A, 5000)
    everybody.unloaded(A, Leaving.EXPIRED, "expired")
    news.swapped(Task.CHAT, "a:1", "b:1")
    batches = follower.batches(idle_s=0.01)
    told = [(event.kind, json.loads(event.data)) for event in await anext(batches)]
    assert told == [
        ("session.ready", {"id": "a:1", "load_s": 1.235, "resident_bytes": 1000}),
        ("session.failed", {"id": "a:1", "kind": "crashed", "message": "It died.", "retry_s": 8.0}),
        ("model.out_of_memory", {"id": "a:1", "need_bytes": 5000}),
        ("session.unloaded", {"id": "a:1", "reason": "expired"}),
        ("session.swapped", {"task": "chat", "from": "a:1", "to": "b:1"}),
    ]
