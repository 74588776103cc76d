"""Carries out checks beside each other, each in a thread of its own, and waits for none longer than agreed.

A folder on a network mount that is gone keeps whoever looks at it for minutes, and cannot be interrupted.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from daemon.doctor.finding import Finding, Level
from registry.errors import SlmregError

# Of all checks together. What describes the machine takes one or two seconds, where that is busy several (judged).
LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """``look`` may raise whatever it likes, and may never return."""

    subject: str
    look: Callable[[], Iterable[Finding]]


def carry_out(checks: Sequence[Check], *, limit_s: float = LIMIT_S) -> Iterator[Finding]:
    """What they find, in their order, also if that is that one of them failed or took longer than ``limit_s``."""
    deadline_s = time.monotonic() + limit_s
    for check, answer in [(check, _begun(check)) for check in checks]:
        try:
            yield from answer.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            yield Finding(
                Level.PROBLEM,
                check.subject,
                f"could not be looked at within {limit_s:g} s",
                "A disk or network share may not answer; unmount it or switch its root off, and look again.",
            )


def _begun(check: Check) -> queue.Queue[tuple[Finding, ...]]:
    answer: queue.Queue[tuple[Finding, ...]] = queue.Queue()
    # A daemon thread: one that hangs does not keep the command from ending.
    threading.Thread(target=lambda: answer.put(_looked(check)), name=check.subject, daemon=True).start()
    return answer


def _looked(check: Check) -> tuple[Finding, ...]:
    try:
        return tuple(check.look())
    except SlmregError as error:  # a setting or a registry that nobody can work with: it says what to do
        return (Finding(Level.PROBLEM, error.code, error.message),)
    except Exception as error:  # whatever it is, the others are worth hearing
        return (
            Finding(
                Level.NOTE,
                check.subject,
                f"could not be looked at: {type(error).__name__}: {error}",
                "Report it with `slmreg doctor --bundle report.zip`.",
            ),
        )
