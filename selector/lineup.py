"""All prospects for one request, laid out so that the best of thousands is found in a millisecond.

Invariant: ``top`` finds what sorting every settled prospect by ``appraisal.preference`` would put first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from operator import attrgetter, itemgetter

from registry.model import Device, ExecutionProvider, Model
from selector.appraisal import Prospect, Scene, preference, settle, standing_of, step_of
from selector.selection import Candidate, Rejected
from selector.utility import memory_loss

_Key = tuple[object, ...]
_Pool = tuple[Device, ExecutionProvider]


@dataclass(frozen=True, slots=True)
class Top:
    """The two best candidates, the loaded ones (best first), and how many could serve."""

    best: Candidate | None
    second: Candidate | None
    loaded: tuple[Candidate, ...]
    count: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A prospect with what a comparison needs of it at hand. ``pool``: where its memory comes from."""

    bound: float
    need_bytes: int
    pool: _Pool
    model_id: str
    standing: _Key
    prospect: Prospect


class Lineup:
    def __init__(self, appraised: Iterable[Prospect | Rejected]) -> None:
        verdicts = list(appraised)
        self.prospects = [each for each in verdicts if isinstance(each, Prospect)]
        self.rejected = [each for each in verdicts if isinstance(each, Rejected)]
        self._by_id: dict[str, list[Prospect]] = {}
        for prospect in self.prospects:
            self._by_id.setdefault(prospect.model.id, []).append(prospect)
        self._entries = sorted(map(_entry, self.prospects), key=attrgetter("bound"), reverse=True)
        self._pools: dict[_Pool, Model] = {entry.pool: entry.prospect.model for entry in self._entries}

    def of(self, model_id: str) -> Sequence[Prospect]:
        """The ways in which one model may serve."""
        return self._by_id.get(model_id, ())

    def rejection_of(self, model_id: str, scene: Scene) -> Rejected | None:
        """Why a model cannot serve now; None if it can, or is not known."""
        verdicts = [settle(prospect, scene) for prospect in self.of(model_id)]
        if any(isinstance(verdict, Candidate) for verdict in verdicts):
            return None
        of_it = (each for each in self.rejected if each.model_id == model_id)
        return next((each for each in (*verdicts, *of_it) if isinstance(each, Rejected)), None)

    def ranking(self, scene: Scene) -> tuple[Candidate, ...]:
        """Every candidate, best first."""
        return tuple(candidate for _key, candidate in self._settled(self.prospects, scene))

    def rejections(self, scene: Scene) -> list[Rejected]:
        """Everything that is turned away, at this moment or anyway."""
        verdicts = (settle(prospect, scene) for prospect in self.prospects)
        return [*self.rejected, *(verdict for verdict in verdicts if isinstance(verdict, Rejected))]

    def top(self, scene: Scene) -> Top:
        """The best candidates at this moment."""
        loaded = self._settled((p for model_id in scene.sessions for p in self.of(model_id)), scene)
        # Deadlines and setbacks are rare, and need more than a comparison.
        if scene.request.deadline_s is None and not scene.circumstances.setbacks:
            count, two = self._two_best_cold(scene)
            cold = self._settled(two, scene)
        else:
            cold = self._settled((p for p in self.prospects if p.model.id not in scene.sessions), scene)
            count = len(cold)
        best = [candidate for _key, candidate in nsmallest(2, [*loaded, *cold], key=itemgetter(0))]
        return Top(
            best=best[0] if best else None,
            second=best[1] if len(best) > 1 else None,
            loaded=tuple(candidate for _key, candidate in loaded),
            count=count + len(loaded),
        )

    def _settled(self, prospects: Iterable[Prospect], scene: Scene) -> list[tuple[_Key, Candidate]]:
        """Those that can serve, with their sort keys, best first."""
        candidates = []
        for prospect in prospects:
            verdict = settle(prospect, scene)
            if isinstance(verdict, Candidate):
                is_loaded = prospect.model.id in scene.sessions
                candidates.append((preference(verdict, prospect.model, is_loaded=is_loaded), verdict))
        return sorted(candidates, key=itemgetter(0))

    def _two_best_cold(self, scene: Scene) -> tuple[int, list[Prospect]]:
        """How many that are not loaded fit, and the two best of them."""
        available = {pool: scene.available_bytes(model, 0, is_cold=True) for pool, model in self._pools.items()}
        count, two = 0, list[tuple[tuple[int, _Key], Prospect]]()
        for entry in self._entries:
            room = available[entry.pool]
            if entry.need_bytes > room or entry.model_id in scene.sessions:
                continue
            count += 1
            if len(two) == 2 and -step_of(entry.bound) > two[1][0][0]:
                continue  # the bounds only fall from here on
            step = step_of(round(entry.bound - memory_loss(entry.need_bytes, room), 2))
            two = nsmallest(2, [*two, ((-step, entry.standing), entry.prospect)], key=itemgetter(0))
        return count, [prospect for _key, prospect in two]


def _entry(prospect: Prospect) -> _Entry:
    model, need = prospect.model, prospect.need.total_bytes
    standing = standing_of(model, prospect.thinking, need, prospect.base["uncertainty"])
    return _Entry(prospect.bound, need, (model.device, model.execution_provider), model.id, standing, prospect)
