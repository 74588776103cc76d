"""The tokens by which Whisper is told what to do: language, task, and that no times are wanted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.folder import read_text
from registry.errors import InvalidRequest

START, PREVIOUS = "<|startoftranscript|>", "<|startofprev|>"
_NO_TIMES = "<|notimestamps|>"
_TASKS = {"transcribe": "<|transcribe|>", "translate": "<|translate|>"}
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """``added`` are the ids of all tokens that are no text, by what they stand for; ``languages`` those by code.

    A model for English only has no languages, or cannot be told the task.
    """

    added: Mapping[str, int]
    languages: Mapping[str, int]

    @property
    def is_multilingual(self) -> bool:
        return len(self.languages) > 1 and all(name in self.added for name in _TASKS.values())

    def require(self, language: str | None, task: str) -> None:
        """Raises InvalidRequest for what the model cannot do."""
        if task not in _TASKS:
            raise InvalidRequest(f"There is no task {task!r:.40}; the tasks are {', '.join(_TASKS)}.", param="task")
        if self.is_multilingual:
            if language is not None and language not in self.languages:
                known = ", ".join(sorted(self.languages))
                message = f"This model does not know the language {language!r:.40}. It knows {known}."
                raise InvalidRequest(message, param="language")
        elif task != "transcribe" or language not in (None, ENGLISH):
            raise InvalidRequest(
                "This model only writes down English. Leave 'language' out, or choose a model for several languages.",
                param="language" if language not in (None, ENGLISH) else "model",
            )

    def orders(self, language: str, task: str) -> list[int]:
        """What follows the start of a transcript."""
        names = [f"<|{language}|>", _TASKS[task]] if self.is_multilingual else []
        return [self.added[name] for name in (*names, _NO_TIMES) if name in self.added]

    def speechless(self, end_ids: frozenset[int]) -> frozenset[int]:
        """Tokens that must not come in a text without times."""
        return frozenset(self.added.values()) - end_ids


def read_vocabulary(file: Path, *, is_english_only: bool = False) -> Vocabulary:
    """From a ``tokenizer.json``; those of models for English only have languages too, which mean nothing to them.

    Raises LoadError.
    """
    try:
        entries = json.loads(read_text(file))["added_tokens"]
        added = {str(entry["content"]): int(entry["id"]) for entry in entries}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise LoadError(LoadCode.INVALID_FILE, f"{file} is no tokenizer of Whisper. Copy it again.") from error
    if START not in added:
        message = f"{file} has no {START}: slmreg can only transcribe with Whisper's models."
        raise LoadError(LoadCode.UNSUPPORTED, message)
    if is_english_only:
        return Vocabulary(added, {})
    found = {match[1]: token for name, token in added.items() if (match := _LANGUAGE.fullmatch(name))}
    return Vocabulary(added, found)
