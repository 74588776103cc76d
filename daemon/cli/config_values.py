"""The settings as the command line sees them: those of the running daemon, or those that one would have."""

from __future__ import annotations

from daemon.cli.backend import HttpBackend, Json
from daemon.cli.daemon_link import find_daemon
from daemon.paths import home_paths


def effective_settings() -> Json:
    """Those of the daemon, or else what one would have that is started here."""
    from daemon.config.layers import load_effective
    from daemon.config.report import settings_json

    paths = home_paths()
    running = find_daemon(paths.run_file)
    if running is None:
        return settings_json(load_effective(paths), paths.config)
    with HttpBackend(running) as daemon:
        return daemon.settings()


def row_of(found: Json, name: str) -> Json:
    return next(row for row in found["data"] if row["key"] == name)


def reloaded() -> Json | None:
    """What a running daemon makes of the file now, without waiting until it notices; None if there is no daemon."""
    running = find_daemon(home_paths().run_file)
    if running is None:
        return None
    with HttpBackend(running) as daemon:
        return daemon.reload_settings()
