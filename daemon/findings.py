"""What one part of an installation looks like to a doctor, each from plain values: sums, and what to do.

A PROBLEM needs somebody to do something; a NOTE is good to know.
"""

from __future__ import annotations

import platform
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from daemon import __version__
from registry.index.health import DatabaseHealth
from registry.model import FolderProblem, Model, Pin, Root, Status
from registry.problems import ProblemCode
from selector.footprint import format_bytes

# Of the disk that the registry is on: it grows by a few kilobytes per model, and needs its own size again to migrate.
_LITTLE_DISK_BYTES = 1_000_000_000
_NO_DISK_BYTES = 100_000_000
_ENGINE_PACKAGES = ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml")
# What keeps a folder from being used, and yet is nothing that anybody has to mend.
_JUST_SO = frozenset(
    {
        ProblemCode.UNFINISHED,
        ProblemCode.NOT_GENAI,
        ProblemCode.LINK_NOT_FOLLOWED,
        ProblemCode.CUSTOM_OPS_LIBRARY,
    }
)


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """``subject`` is what was looked at, ``items`` the single things behind a sum, ``advice`` what to do."""

    level: Level
    subject: str
    message: str
    advice: str | None = None
    items: tuple[str, ...] = ()


def database_findings(health: DatabaseHealth) -> Iterator[Finding]:
    """As the file was before anybody opened it."""
    if health.damage:
        yield Finding(
            Level.PROBLEM,
            "database",
            f"{health.path} is damaged: {health.damage[0]}",
            "The next command that opens it keeps the file aside and makes a new one; then run `slmreg scan`.",
            health.damage,
        )
    elif health.schema is None:
        yield Finding(Level.NOTE, "database", f"There is no registry at {health.path} yet.", "Run `slmreg scan`.")
    else:
        state = "" if health.is_current else ", of another version of slmreg"
        size = format_bytes(health.size_bytes)
        yield Finding(Level.OK, "database", f"{health.path} is whole ({size}, schema {health.schema}{state})")


def root_findings(
    roots: Iterable[Root], models: Sequence[Model], readable: Callable[[Path], bool], daemon: Mapping[str, Any] | None
) -> Iterator[Finding]:
    """``daemon`` is the status of the one that runs: it knows how each root is watched."""
    watched = {state["path"]: state for state in (daemon or {}).get("watching", ())}
    for root in roots:
        count = sum(model.status is not Status.MISSING and model.path.is_relative_to(root.path) for model in models)
        what = f"{root.path} ({root.source}, {count} models)"
        if not root.is_enabled:
            yield Finding(Level.OK, "root", f"{what} is switched off")
        elif not root.exists:
            if root.added_by_user:
                yield Finding(Level.NOTE, "root", f"{what} is not there now", "Mount it, or `slmreg roots remove` it.")
            else:
                yield Finding(Level.OK, "root", f"{what} is not there")
        elif not readable(root.path):
            yield Finding(Level.PROBLEM, "root", f"{what} cannot be read", "Check its permissions.")
        elif (state := watched.get(str(root.path))) is not None and state["method"] != "native":
            reason = f": {state['reason']}" if state["reason"] else ""
            yield Finding(Level.NOTE, "root", f"{what} is watched by {state['method']}{reason}")
        else:
            yield Finding(Level.OK, "root", what)


def folder_findings(problems: Iterable[FolderProblem], models: Iterable[Model]) -> Iterator[Finding]:
    """One for each code, of the folders and models that cannot be used because of it."""
    by_code: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for problem in problems:
        by_code[problem.code].append((str(problem.path), problem.message))
    for model in models:
        if model.status in (Status.INVALID, Status.BLOCKED, Status.PARTIAL):
            for fault in model.problems:
                by_code[fault.code].append((model.id, fault.message))
    for code, found in sorted(by_code.items()):
        level = Level.NOTE if code in _JUST_SO else Level.PROBLEM
        several = f"{len(found)} folders have the problem {code}" if len(found) > 1 else found[0][0]
        first = found[0][1]
        yield Finding(level, code, f"{several}: {first}", None, tuple(name for name, _ in found) if found[1:] else ())


def model_findings(models: Sequence[Model]) -> Iterator[Finding]:
    ready = [model for model in models if model.status is Status.READY]
    if all(model.is_demo for model in ready):
        yield Finding(
            Level.NOTE,
            "models",
            "There is no model but the demo model." if ready else "There is no model.",
            "Add a folder of ONNX Runtime GenAI models with `slmreg roots add PATH`.",
        )
    else:
        size = format_bytes(sum(model.size_bytes for model in ready))
        yield Finding(Level.OK, "models", f"{len(ready)} can be used ({size})")
    unverified = [model for model in ready if model.verified_s is None and not model.is_demo]
    if unverified:
        yield Finding(
            Level.NOTE,
            "verified",
            f"{len(unverified)} of {len(ready)} were never read in full since they were written.",
            "`slmreg verify` does so.",
            tuple(model.id for model in unverified),
        )
    elif ready:
        yield Finding(Level.OK, "verified", "all of them are as they were when every byte was read")
    yield from _missing(models)
    yield from _duplicates(models)


def failure_findings(daemon: Mapping[str, Any] | None) -> Iterator[Finding]:
    """``daemon`` is the status of the one that runs: it knows what could not be loaded."""
    failures = (daemon or {}).get("failures", {})
    if failures:
        yield Finding(
            Level.PROBLEM,
            "failed models",
            f"{len(failures)} could not be loaded, or died",
            "Each says why. `slmreg load MODEL` tries again at once, `slmreg verify MODEL` looks for damage.",
            tuple(f"{model_id} ({each['kind']}): {each['message']}" for model_id, each in sorted(failures.items())),
        )


def _missing(models: Sequence[Model]) -> Iterator[Finding]:
    gone = [model for model in models if model.status is Status.MISSING]
    if gone:
        yield Finding(
            Level.NOTE,
            "missing",
            f"{len(gone)} were here before",
            "Put them back if you need them: they come back with everything that was known of them.",
            tuple(f"{model.id} since {_day(model.missing_since_s)}, was at {model.path}" for model in gone),
        )


def _duplicates(models: Sequence[Model]) -> Iterator[Finding]:
    there = [model for model in models if model.status is not Status.MISSING]
    renamed = [m.id for m in there if any(p.code == ProblemCode.DUPLICATE_ID for p in m.problems)]
    if renamed:
        yield Finding(
            Level.NOTE,
            "duplicates",
            f"{len(renamed)} have the id of another model and are listed under one of their own",
            "Give them names of their own in their inference_model.json, or remove what you do not need.",
            tuple(renamed),
        )
    copied = [model for model in there if model.locations]
    if copied:
        size = format_bytes(sum(model.size_bytes * len(model.locations) for model in copied))
        yield Finding(
            Level.NOTE,
            "copies",
            f"{len(copied)} are on the disk more than once ({size} could be free)",
            "Remove the copies you do not need.",
            tuple(f"{model.id}: {path}" for model in copied for path in (model.path, *model.locations)),
        )


def pin_findings(pins: Iterable[Pin], why_not: Callable[[Pin], str | None]) -> Iterator[Finding]:
    """``why_not`` says why a pinned model cannot serve now; None if it can."""
    for pin in pins:
        subject = f"pin {pin.task}"
        if pin.is_waiting and pin.pattern is None:
            yield Finding(
                Level.NOTE,
                subject,
                f"waits for {pin.model_id}, which is not here yet; until then slmreg chooses",
                f"Get that model, or `slmreg unpin {pin.task}`.",
            )
        elif (reason := why_not(pin)) is not None:
            advice = f"Mend that, pin another model, or `slmreg unpin {pin.task}`: a pin is never replaced in silence."
            yield Finding(Level.PROBLEM, subject, f"{pin.model_id} cannot serve. {_sentence(reason)}", advice)
        else:
            yield Finding(Level.OK, subject, pin.model_id)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


def disk_finding(folder: Path) -> Finding:
    """How much room the disk has that ``folder``, which need not be there yet, is on."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    try:
        free_bytes = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(Level.PROBLEM, "disk", f"{folder} cannot be asked for its free space: {error.strerror or error}")
    message = f"{format_bytes(free_bytes)} are free where the registry is ({folder})"
    if free_bytes < _LITTLE_DISK_BYTES:
        level = Level.PROBLEM if free_bytes < _NO_DISK_BYTES else Level.NOTE
        return Finding(level, "disk", message, "Make room: a full disk keeps the registry from being written.")
    return Finding(Level.OK, "disk", message)


def version_finding(installed: Callable[[str], str | None]) -> Finding:
    """``installed`` is the version of a package, None where it is not installed."""
    engines = [f"{name} {version}" for name in _ENGINE_PACKAGES if (version := installed(name)) is not None]
    ours = f"slmreg {__version__}, Python {platform.python_version()}"
    if not engines:
        return Finding(
            Level.PROBLEM,
            "versions",
            f"{ours}; onnxruntime-genai is not installed, so no model can be loaded",
            f"Install it beside slmreg: pip install {_ENGINE_PACKAGES[0]}",
        )
    runtime = installed("onnxruntime")
    return Finding(Level.OK, "versions", ", ".join([ours, *engines, *([f"onnxruntime {runtime}"] if runtime else [])]))


def installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def daemon_finding(status: Mapping[str, Any] | None) -> Finding:
    """``status`` is what a running daemon says of itself, with its ``url``."""
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


def _day(unix_s: float | None) -> str:
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat() if unix_s is not None else "some time"
