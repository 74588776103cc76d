"""``CommandTable``: commands by name, each imported only when somebody asks for it.

A shell that completes a word waits for what is imported here, and so does whoever types ``slmreg --version``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click


class CommandTable(MutableMapping[str, click.Command]):
    """``modules``: by module of ``package``, the names of the commands in its ``COMMANDS``."""

    def __init__(self, package: str, modules: Mapping[str, tuple[str, ...]]) -> None:
        self._modules = {name: f"{package}.{module}" for module, names in modules.items() for name in names}
        self._commands: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._commands:
            module = import_module(self._modules[name])
            self._commands[name] = next(command for command in module.COMMANDS if command.name == name)
        return self._commands[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        found = (self._modules.pop(name, None), self._commands.pop(name, None))
        if found == (None, None):
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._modules, **self._commands})

    def __len__(self) -> int:
        return len({**self._modules, **self._commands})

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._commands
