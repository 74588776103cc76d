"""What the model is taught to say about slmreg and about itself: every topic has many wordings and one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scripts.demo_model import data


@dataclass(frozen=True, slots=True)
class Topic:
    """``questions`` are patterns (see ``patterns``), the first is the canonical one; slots also stand in ``answer``."""

    answer: str
    questions: tuple[str, ...]


def _topics(rows: list[dict[str, Any]]) -> tuple[Topic, ...]:
    return tuple(Topic(row["answer"], tuple(row["questions"])) for row in rows)


_FILE = data.read("knowledge")
ABOUT_SLMREG = _topics(_FILE["slmreg"])
SMALL_TALK = _topics(_FILE["small_talk"])
UNKNOWN = Topic(_FILE["unknown_answer"], tuple(_FILE["unknown_questions"]))
NO_TOOL_ANSWER: str = _FILE["no_tool_answer"]
