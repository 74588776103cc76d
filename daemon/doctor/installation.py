"""What is installed: versions that fit together, and whether slmreg starts by itself."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from daemon import __version__
from daemon.doctor.finding import Finding, Level
from daemon.versions import GENAI_PACKAGES, RUNTIME_PACKAGES

_AT_LEAST = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)\s*>=\s*(?P<version>\d+(?:\.\d+)*)")
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def version_findings(
    installed: Callable[[str], str | None], requirements: Callable[[str], tuple[str, ...]]
) -> Iterator[Finding]:
    """``installed`` is the version of a package, None where it is not installed; ``requirements`` what it needs."""
    engines = {name: version for name in GENAI_PACKAGES if (version := installed(name)) is not None}
    runtimes = {name: version for name in RUNTIME_PACKAGES if (version := installed(name)) is not None}
    listed = [f"{name} {version}" for name, version in (*engines.items(), *runtimes.items())]
    ours = f"slmreg {__version__}, Python {platform.python_version()}"
    if not engines:
        yield Finding(
            Level.PROBLEM,
            "versions",
            f"{ours}; onnxruntime-genai is not installed, so no model can be loaded",
            f"Install it beside slmreg: pip install {GENAI_PACKAGES[0]}",
        )
        return
    yield Finding(Level.OK, "versions", ", ".join([ours, *listed]))
    for family in (engines, runtimes):
        if len(family) > 1:
            yield _in_each_others_way(tuple(family))
    for name in engines:
        yield from _unmet(name, requirements(name), runtimes)


def _in_each_others_way(packages: tuple[str, ...]) -> Finding:
    return Finding(
        Level.PROBLEM,
        "versions",
        f"{' and '.join(packages)} are installed together: they write the same files, and the last one counts",
        f"pip uninstall {' '.join(packages)}, then install the one that you want.",
    )


def _unmet(engine: str, requirements: tuple[str, ...], runtimes: Mapping[str, str]) -> Iterator[Finding]:
    """A runtime older than its engine was built with: loading fails, or crashes."""
    for needed in filter(None, map(_AT_LEAST.match, requirements)):
        name, least = needed["name"], needed["version"]
        if name in RUNTIME_PACKAGES and name in runtimes and _is_older(runtimes[name], least):
            yield Finding(
                Level.PROBLEM,
                "versions",
                f"{engine} needs {name} {least} or newer, and {runtimes[name]} is installed",
                f"pip install --upgrade '{name}>={least}'",
            )


def _is_older(version: str, least: str) -> bool:
    found = _NUMBERS.match(version)
    return found is not None and _as_numbers(found[0]) < _as_numbers(least)


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def service_finding(files: tuple[Path, ...]) -> Finding:
    """``files`` are those that make it start by itself."""
    if files:
        return Finding(Level.OK, "service", f"slmreg starts by itself ({', '.join(map(str, files))})")
    return Finding(
        Level.NOTE,
        "service",
        "slmreg does not start by itself: no service is installed",
        "`slmreg service install` makes it start when you log in.",
    )
