from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.pool.session import SessionState
from daemon.session_facts import held_back, is_busy, session_facts
from registry.model import Task
from selector.selection import HeldBack, SessionFacts
from tests.fakes import a_session

IDLE = a_session(resident_bytes=1000, promised_bytes=20, context_tokens=4096, idle_s=5.0)
FAILED = replace(IDLE, state=SessionState.FAILED, failure="It died.", retry_s=3.0)


@pytest.mark.parametrize("state", SessionState)
def test_only_what_is_loaded_or_soon_will_be_counts_as_a_session(state: SessionState) -> None:
    facts = session_facts([replace(IDLE, state=state)])
    expected = SessionFacts("m:1", 1000, is_reclaimable=True, idle_s=5.0, context_tokens=4096, promised_bytes=20)
    assert facts == ((expected,) if state in (SessionState.READY, SessionState.LOADING) else ())


def test_what_is_used_waited_for_or_kept_cannot_be_reclaimed() -> None:
    sessions = [replace(IDLE, active=1), replace(IDLE, queued=1), replace(IDLE, is_kept=True), IDLE]
    assert [facts.is_reclaimable for facts in session_facts(sessions)] == [False, False, False, True]
    assert [facts.is_kept for facts in session_facts(sessions)] == [False, False, True, False]


def test_one_that_is_kept_warm_is_never_idle() -> None:
    (facts,) = session_facts([replace(IDLE, warm_for=(Task.CHAT,))])
    assert facts.idle_s == 0.0


def test_a_failed_one_is_held_back_until_it_may_be_tried_again() -> None:
    assert held_back([IDLE, FAILED, replace(FAILED, retry_s=0.0)]) == (HeldBack("m:1", "It died.", 3.0),)


def test_a_daemon_is_busy_while_somebody_waits_for_an_answer() -> None:
    assert not is_busy([])
    assert not is_busy([IDLE, FAILED])
    assert is_busy([IDLE, replace(IDLE, active=1)])
    assert is_busy([replace(IDLE, queued=1)])
