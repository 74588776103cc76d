"""What machines answered: file trees and the output of commands, in the form that they were recorded in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selector.hardware.queries import Query

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> str:
    return (SAMPLES / name).read_text(encoding="utf-8")


def plant(root: Path, name: str) -> Path:
    """The file tree of ``samples/{name}.tree`` below ``root``: lines "path = content" and "link -> where to"."""
    for line in sample(f"{name}.tree").splitlines():
        if line.startswith("#"):
            continue
        path, is_link, target = line.partition(" -> ")
        if is_link:
            link = root / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
            continue
        path, _, content = line.partition(" = ")
        write(root, {path: content.replace("\\n", "\n").replace("\\t", "\t").replace("\\x00", "\0")})
    return root


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def answering(answers: dict[tuple[str, ...], str]) -> Query:
    """Answers commands by how they begin, and has no other programs."""

    def query(command: Sequence[str]) -> str | None:
        return next((text for start, text in answers.items() if tuple(command[: len(start)]) == start), None)

    return query


def silent(command: Sequence[str]) -> str | None:
    return None
