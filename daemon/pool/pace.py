"""How long answers of each model take, and so when it is worth asking again."""

from __future__ import annotations

# Of what was measured, the share of the newest answer.
_NEWEST = 0.3
# Before anything was measured (judged).
_USUAL_S = 5.0
_LEAST_S, _MOST_S = 1.0, 600.0


class Pace:
    """Running means of the seconds that a request holds a session."""

    def __init__(self) -> None:
        self._mean_s: dict[str, float] = {}

    def note(self, model_id: str, seconds: float) -> None:
        """An answer has ended."""
        before = self._mean_s.get(model_id)
        self._mean_s[model_id] = seconds if before is None else before + _NEWEST * (seconds - before)

    def wait_s(self, model_id: str, ahead: int, at_once: int) -> float:
        """Until ``ahead`` requests are done, of which ``at_once`` are answered together; from 1 to 600 s."""
        mean_s = self._mean_s.get(model_id, _USUAL_S)
        return min(max(mean_s * ahead / max(1, at_once), _LEAST_S), _MOST_S)

    def forget(self, model_id: str) -> None:
        self._mean_s.pop(model_id, None)
