"""The registry of this home itself, for commands that no daemon has a part in; one that runs notices what they do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.cli.backend import HttpBackend
from daemon.cli.daemon_link import find_daemon
from daemon.paths import Paths, home_paths

if TYPE_CHECKING:
    from daemon.catalog import Catalog
    from daemon.machine import Machine
    from daemon.settings import Settings
    from registry.store import Registry


@dataclass(frozen=True, slots=True)
class Local:
    """What a command works with."""

    registry: Registry
    catalog: Catalog
    settings: Settings
    paths: Paths


@contextlib.contextmanager
def open_registry(machine: Machine | None = None, *, is_fresh: bool = True) -> Iterator[Local]:
    """The registry as the disk is now: a daemon sees to that all the time, and without one it is looked at first.

    ``machine`` is one that was described already; not ``is_fresh``: nobody looks at the disk.
    """
    from daemon.catalog import Catalog
    from daemon.config.layers import load_settings
    from daemon.machine import Machine
    from registry.store import Registry

    paths = home_paths()
    settings = load_settings(paths)
    with Registry.open(paths.database) as registry:
        catalog = Catalog(registry, machine or Machine(paths.hardware_cache), lambda: settings, os.environ)
        if is_fresh and find_daemon(paths.run_file) is None:
            catalog.scan()
        yield Local(registry, catalog, settings, paths)


def let_daemon_look() -> None:
    """Have a running daemon take up at once what it would notice by itself a little later."""
    running = find_daemon(home_paths().run_file)
    if running is not None:
        with HttpBackend(running) as daemon:
            daemon.scan()
