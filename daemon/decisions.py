"""The last choices that slmreg made for requests, each with an id, so that anybody can ask afterwards why.

A choice is kept as the values it was made from, and its ledger is made when it is asked for. No word of a prompt is in
it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from registry.errors import SelectionNotFound
from selector.selection import Selection


@dataclass(frozen=True, slots=True)
class Decision:
    """``reference`` is what was asked for (``auto``), ``task_because`` why it counted as that task.

    ``decided_s`` is Unix time.
    """

    id: str
    decided_s: float
    reference: str
    task_because: str
    selection: Selection


class Decisions:
    """Safe to use from several threads."""

    def __init__(self, most: Callable[[], int], *, now: Callable[[], float] = time.time) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Decision] = OrderedDict()

    def record(self, reference: str, task_because: str, selection: Selection) -> str | None:
        """Keep a choice under the id that this returns, None where none are kept; the oldest goes for it."""
        most = self._most()
        if most == 0:
            return None
        decision = Decision(f"sel_{secrets.token_hex(8)}", self._now(), reference, task_because, selection)
        with self._lock:
            self._kept[decision.id] = decision
            while len(self._kept) > most:
                self._kept.popitem(last=False)
        return decision.id

    def get(self, decision_id: str) -> Decision:
        """Raises SelectionNotFound."""
        with self._lock:
            decision = self._kept.get(decision_id)
        if decision is None:
            raise SelectionNotFound(
                f"There is no selection {decision_id!r}: the daemon keeps the last {self._most()} (max_selections), "
                "and none from before it was started."
            )
        return decision

    def newest(self, limit: int) -> list[Decision]:
        """Newest first."""
        with self._lock:
            return list(reversed(self._kept.values()))[:limit]
