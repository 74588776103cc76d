"""Which tasks the endpoints serve, and in what words they refuse a model that cannot do any of them."""

from __future__ import annotations

from dataclasses import dataclass

from registry.model import Task

# What a chat completion can be asked of. Models that see do all that others do, too.
TEXT_TASKS = frozenset({Task.CHAT, Task.CODE, Task.REASONING, Task.MATH, Task.TOOLS, Task.VISION})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``deed`` follows "cannot"."""

    tasks: frozenset[Task]
    deed: str


CHATS = Endpoint(TEXT_TASKS, "answer a chat")
EMBEDDINGS = Endpoint(frozenset({Task.EMBEDDINGS}), "make embeddings")
TRANSCRIPTIONS = Endpoint(frozenset({Task.TRANSCRIPTION}), "write down speech")
# What can be loaded, whichever endpoint then asks.
EVERY = Endpoint(CHATS.tasks | EMBEDDINGS.tasks | TRANSCRIPTIONS.tasks, "be asked anything")
