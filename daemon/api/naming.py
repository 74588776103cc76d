"""The parameters of one API under their names in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from registry.errors import InvalidRequest


@contextmanager
def in_the_names_of(names: Mapping[str, str]) -> Iterator[None]:
    """What is refused within is blamed by the name that the client used; ``names``: theirs, by OpenAI's for a chat."""
    try:
        yield
    except InvalidRequest as error:
        for ours, theirs in names.items():
            error.message = error.message.replace(f"'{ours}'", f"'{theirs}'")
        if error.param is not None:
            error.param = names.get(error.param, error.param)
        raise
