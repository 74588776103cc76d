"""What a parser makes of a text, put together again."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from daemon.pool.protocol import ToolCallDelta
from daemon.worker.tools.forms import HERMES, Form
from daemon.worker.tools.parser import ToolCallParser

Calls = list[tuple[str, str]]


def joined(deltas: Sequence[ToolCallDelta]) -> Calls:
    """Names and arguments of calls; a call's name has to come once, and first."""
    calls: Calls = []
    for delta in deltas:
        if delta.index == len(calls):
            assert delta.name is not None
            calls.append((delta.name, delta.arguments))
        else:
            assert delta.index == len(calls) - 1 and delta.name is None
            name, arguments = calls[-1]
            calls[-1] = (name, arguments + delta.arguments)
    return calls


def parsed(
    pieces: Sequence[str], form: Form = HERMES, schemas: Mapping[str, Mapping[str, Any]] | None = None, **options: Any
) -> tuple[str, Calls]:
    parser = ToolCallParser((form,), schemas, **options)
    results = [*map(parser.feed, pieces), parser.flush()]
    return "".join(text for text, _ in results), joined([delta for _, deltas in results for delta in deltas])


def split(text: str, cuts: Sequence[int]) -> list[str]:
    bounds = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]
