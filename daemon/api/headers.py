"""What the headers of every answer say: which model gave it, and how it was chosen."""

from __future__ import annotations

from urllib.parse import quote

from registry.model import Task

# Of an id in a header; everything beyond ASCII is percent-encoded.
READABLE = " !#$&'()*+,/:;=?@[]~"
TASK_HEADER = "x-slmreg-task"
POLICY_HEADER = "x-slmreg-policy"
DEADLINE_HEADER = "x-slmreg-deadline"


def answer_headers(model_id: str, task: Task | None, decision_id: str | None) -> dict[str, str]:
    """Which model answers; and where slmreg chose it, for which task and where the choice can be looked up."""
    headers = {"x-slmreg-model": quote(model_id, safe=READABLE)}
    if task is not None:
        headers[TASK_HEADER] = task
    if decision_id is not None:
        headers["x-slmreg-selection"] = decision_id
    return headers
