"""The headers of our own: what a request wishes, and which model gave the answer and how it was chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from daemon.bounds import MAX_SECONDS
from daemon.wants import parse_policy, parse_task
from registry.errors import InvalidRequest
from registry.model import Task
from selector.policy import Policy

# Of an id in a header; everything beyond ASCII is percent-encoded.
READABLE = " !#$&'()*+,/:;=?@[]~"
TASK_HEADER = "x-slmreg-task"
POLICY_HEADER = "x-slmreg-policy"
DEADLINE_HEADER = "x-slmreg-deadline"
# Which parameters were left out, because the settings allow that.
IGNORED_HEADER = "x-slmreg-ignored"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the headers of a request say about the choice of its model, and in how many seconds its answer has to be
    there. They count before what its body says.
    """

    task: Task | None = None
    policy: Policy | None = None
    deadline_s: float | None = None


NO_WISHES = Wishes()


def wishes_in(headers: Mapping[str, str]) -> Wishes:
    """Raises UnknownTask, InvalidRequest."""
    task, policy, deadline = (headers.get(name) for name in (TASK_HEADER, POLICY_HEADER, DEADLINE_HEADER))
    return Wishes(
        task=parse_task(task.strip().lower()) if task is not None else None,
        policy=parse_policy(policy) if policy is not None else None,
        deadline_s=_parse_deadline(deadline) if deadline is not None else None,
    )


def _parse_deadline(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidRequest(
            f"A deadline is a number of seconds above 0 and up to {MAX_SECONDS:.0f}; {text!r} is not.",
            param="deadline_s",
        )
    return seconds


def answer_headers(model_id: str, task: Task | None, decision_id: str | None) -> dict[str, str]:
    """Which model answers; and where slmreg chose it, for which task and where the choice can be looked up."""
    headers = {"x-slmreg-model": quote(model_id, safe=READABLE)}
    if task is not None:
        headers[TASK_HEADER] = task
    if decision_id is not None:
        headers["x-slmreg-selection"] = decision_id
    return headers
