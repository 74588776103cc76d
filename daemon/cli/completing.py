"""What can be typed next, for the shell to offer. Quick, without a daemon, and silent whatever goes wrong.

A parameter of a command says ``shell_complete=complete_models``; click completes commands, options and choices itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from daemon.paths import home_paths

if TYPE_CHECKING:
    from registry.index.names import Names

Items = list[CompletionItem[str]]


def complete_models(_: click.Context, __: click.Parameter, typed: str) -> Items:
    """Ids, names and aliases of the models that are here."""
    return _starting(typed, _names().models)


def complete_requested(_: click.Context, __: click.Parameter, typed: str) -> Items:
    """What a request may ask for: models, presets, ``auto`` and ``auto:<task>``."""
    from registry.model import Task

    names = _names()
    return _starting(typed, (*names.models, *names.presets, "auto", *(f"auto:{task}" for task in Task)))


def complete_tasks(_: click.Context, __: click.Parameter, typed: str) -> Items:
    from registry.model import Task

    return _starting(typed, Task)


def complete_presets(_: click.Context, __: click.Parameter, typed: str) -> Items:
    return _starting(typed, _names().presets)


def complete_keys(_: click.Context, __: click.Parameter, typed: str) -> Items:
    return _starting(typed, _names().keys)


def complete_roots(_: click.Context, __: click.Parameter, typed: str) -> Items:
    """Those that a person has added."""
    return _starting(typed, _names().roots)


def complete_folders(_: click.Context, __: click.Parameter, typed: str) -> Items:
    """Those of the disk, which the shell knows best."""
    return [CompletionItem(typed, type="dir")]


def complete_files(_: click.Context, __: click.Parameter, typed: str) -> Items:
    return [CompletionItem(typed, type="file")]


def complete_settings(_: click.Context, __: click.Parameter, typed: str) -> Items:
    """Names of settings."""
    from daemon.settings import Settings

    return _starting(typed, Settings.model_fields)


def _names() -> Names:
    from registry.index.names import known_names

    return known_names(home_paths().database)


def _starting(typed: str, words: Iterable[str]) -> Items:
    """Case does not count, as it does not where a name is used."""
    return [CompletionItem(word) for word in map(str, words) if word.casefold().startswith(typed.casefold())]
