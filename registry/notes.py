"""What is collected while a folder is read: problems that do not keep it from being used, and how guesses were made."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry.model import Problem
from registry.problems import ProblemCode


@dataclass(slots=True)
class Notes:
    problems: list[Problem] = field(default_factory=list)
    evidence: dict[str, str] = field(default_factory=dict)

    def guessed(self, field_name: str, how: str) -> None:
        """``field_name`` of the model was not read from its files but guessed."""
        self.evidence[field_name] = how

    def add(self, code: ProblemCode, message: str, file: str | None = None) -> None:
        self.problems.append(Problem(str(code), message, file))
