"""One model as the registry keeps it: what its folder declares, and what only the registry knows about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from registry.experience import Evaluation
from registry.model import Model, Problem, Status
from registry.problems import ProblemCode


@dataclass(frozen=True, slots=True)
class Verdict:
    """What of a full check is always at hand; see ``registry.model.Verification``."""

    fingerprint: str
    verified_s: float
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One row. ``key`` never changes: pins, full checks, measurements and evaluations hang on it.

    ``declared`` is the model as its folder has it, with the status of the folder's problem, or MISSING. ``name`` is
    another one than the declared where the model at ``duplicate_of`` has that id. ``others`` are the same model in
    other folders, as those declare it. ``model`` is what everybody gets to see; where nothing is to add to what the
    folder declares it is the same object, since there may be thousands.
    """

    key: int
    declared: Model
    name: str
    first_seen_s: float
    duplicate_of: Path | None = None
    others: tuple[Model, ...] = ()
    revision: int = 1
    missing_since_s: float | None = None
    verdict: Verdict | None = None
    model: Model = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        added = self._added()
        object.__setattr__(self, "model", replace(self.declared, **added) if added else self.declared)

    @property
    def path(self) -> Path:
        return self.declared.path

    @property
    def is_missing(self) -> bool:
        return self.declared.status is Status.MISSING

    @property
    def is_whole(self) -> bool:
        """Present, and without a problem that hides what the folder holds now."""
        return is_whole(self.declared)

    @property
    def folders(self) -> tuple[Model, ...]:
        """The model in each folder where it is now."""
        return () if self.is_missing else (self.declared, *self.others)

    def _added(self) -> dict[str, Any]:
        """The fields in which ``model`` differs from ``declared``."""
        added: dict[str, Any] = {}
        problems = self.declared.problems
        if self.duplicate_of is not None:
            added["name"] = self.name
            problems = (*problems, _duplicate(self.declared, self.name, self.duplicate_of))
        verdict = self.verdict
        if verdict is not None and self.is_whole and verdict.fingerprint == self.declared.fingerprint:
            added["verified_s"] = verdict.verified_s
            if verdict.problems:
                added["status"] = Status.INVALID
                problems = (*problems, *verdict.problems)
        if problems is not self.declared.problems:
            added["problems"] = problems
        if self.others:
            added["locations"] = tuple(other.path for other in self.others)
        if self.revision != 1:
            added["revision"] = self.revision
        if self.missing_since_s is not None:
            added["missing_since_s"] = self.missing_since_s
        return added


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """What was ``said`` about the model of a row; ``said.model_id`` is what that was called then."""

    key: int
    model_key: int
    said: Evaluation


def is_whole(model: Model) -> bool:
    """A folder that was read; BLOCKED is one that was read and is not to be loaded."""
    return model.status in (Status.READY, Status.BLOCKED)


def _duplicate(declared: Model, name: str, owner: Path) -> Problem:
    return Problem(
        str(ProblemCode.DUPLICATE_ID),
        f"{owner} has the id {declared.id} too, so this folder is listed as "
        f'{name}:{declared.version}. Give one of them another "Name" in inference_model.json, or delete one.',
    )
