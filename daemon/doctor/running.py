"""What runs, and what of it does not work: the daemon, its models, and who has its port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from daemon import __version__
from daemon.doctor.finding import Finding, Level

# What a running daemon says of itself, with its ``url``; None where none runs.
Status = Mapping[str, Any] | None


def daemon_finding(status: Status) -> Finding:
    if status is None:
        return Finding(Level.OK, "daemon", "none is running; `slmreg serve` starts one")
    running = f"runs at {status['url']} (pid {status['pid']}, {status['sessions']} models loaded)"
    if status["version"] != __version__:
        return Finding(
            Level.PROBLEM,
            "daemon",
            f"{running}, but is slmreg {status['version']} and not {__version__}",
            "Stop it and start it again.",
        )
    return Finding(Level.OK, "daemon", running)


def failure_findings(status: Status) -> Iterator[Finding]:
    """What could not be loaded, and is left alone for it."""
    failures = (status or {}).get("failures", {})
    if failures:
        yield Finding(
            Level.PROBLEM,
            "failed models",
            f"{len(failures)} could not be loaded, or died",
            "Each says why. `slmreg load MODEL` tries again at once, `slmreg verify MODEL` looks for damage.",
            tuple(f"{model_id} ({each['kind']}): {each['message']}" for model_id, each in sorted(failures.items())),
        )


def unwritten_findings(status: Status) -> Iterator[Finding]:
    """What the daemon cannot write down at the moment."""
    for each in (status or {}).get("unwritten", ()):
        yield Finding(
            Level.PROBLEM,
            "unwritten",
            f"the daemon cannot write {each['what']} since {each['since']}: {each['message']}",
            "Make room on that disk, or make its folder writable; the daemon goes on and tries again by itself.",
        )


def port_finding(host: str, port: int, *, is_taken: bool, by: str | None) -> Finding:
    """While no daemon of ours runs. ``by`` is the program that listens there, None where that is not told."""
    if port == 0 or not is_taken:
        return Finding(Level.OK, "port", f"{port} is free" if port else "any free port")
    return Finding(
        Level.PROBLEM,
        "port",
        f"{host}:{port} is taken by {by or 'another program'}",
        "Stop that program, or choose another port: `slmreg serve --port 7568`, or `port` in config.toml.",
    )
