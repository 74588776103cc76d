"""``Paths``: where slmreg keeps its own files, as the environment says.

Every command needs it, also one that completes a word while it is being typed: nothing that is slow to import is here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Paths:
    """Where slmreg keeps its own files. Model files are never among them."""

    config: Path
    database: Path
    run_file: Path
    hardware_cache: Path
    conversations: Path
    log: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Everything under ``SLMREG_HOME`` if that is set, else in the platform's own user directories."""
        home = environment.get("SLMREG_HOME")
        if home:
            root = Path(home).expanduser().absolute()
            return cls.under(config=root, data=root, run=root / "run", cache=root / "cache", logs=root / "logs")
        import platformdirs

        dirs = platformdirs.PlatformDirs("slmreg", appauthor=False)
        return cls.under(
            config=Path(dirs.user_config_dir),
            data=Path(dirs.user_data_dir),
            run=Path(dirs.user_data_dir) / "run",
            cache=Path(dirs.user_cache_dir),
            logs=Path(dirs.user_log_dir),
        )

    @classmethod
    def under(cls, *, config: Path, data: Path, run: Path, cache: Path, logs: Path) -> Self:
        return cls(
            config=config / "config.toml",
            database=data / "registry.db",
            run_file=run / "daemon.json",
            hardware_cache=cache / "hardware.json",
            conversations=data / "responses.db",
            log=logs / "slmreg.jsonl",
        )


def home_paths() -> Paths:
    """Where the files of this home lie."""
    return Paths.from_environment(os.environ)
