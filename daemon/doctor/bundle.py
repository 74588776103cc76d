"""``write_bundle``: what somebody who mends slmreg wants to know of an installation, in one file, and nothing private.

Model names are replaced unless they are asked for; see ``daemon.doctor.private`` for what else does not get in.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.doctor.private import Scrubber, harmless_log, harmless_settings
from daemon.settings import Settings
from registry.errors import InvalidRequest
from registry.model import ApiKey, FolderProblem, Hint, Model, Pin, Preset, Root

_LOG_LINES = 300
# Of the end of each log.
_LOG_BYTES = 256 * 1024
_ABOUT = """\
What slmreg doctor collected for a bug report.

doctor.json    its findings            settings.json  numbers and switches; of texts only that they are set
versions.json  packages, Python        log.txt        times, events and numbers of the last lines, no texts
hardware.json  the machine

Names of people and machines, paths, keys and prompts are left out{names}. Look through it before you send it.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What a person has or has said, as the registry knows it."""

    models: Sequence[Model] = ()
    problems: Sequence[FolderProblem] = ()
    roots: Sequence[Root] = ()
    pins: Sequence[Pin] = ()
    presets: Sequence[Preset] = ()
    hints: Sequence[Hint] = ()
    keys: Sequence[ApiKey] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """Who must not be found in it, and where their files are."""

    user: str
    host: str
    home: Path
    own_folders: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Report:
    """What goes in. ``settings`` is None where they cannot be read."""

    doctor: Mapping[str, Any]
    versions: Mapping[str, Any]
    hardware: Mapping[str, Any]
    settings: Settings | None
    log: Sequence[str]


def private_names(person: Person, known: Known, *, with_models: bool) -> dict[str, str]:
    """What is replaced by what. Paths also where ``with_models`` leaves the models' names as they are."""
    names: dict[str, str] = {}
    if not with_models:
        for number, model in enumerate(known.models, start=1):
            names |= dict.fromkeys((model.id, model.name, model.alias, *model.adapters), f"model-{number}")
            names |= {model.path.name: f"model-{number}"}
        names |= dict.fromkeys((text for pin in known.pins for text in (pin.model_id, pin.pattern or "")), "<model>")
        names |= dict.fromkeys((hint.name for hint in known.hints), "<model>")
        names |= {problem.path.name: f"folder-{number}" for number, problem in enumerate(known.problems, start=1)}
    names |= {preset.name: f"preset-{number}" for number, preset in enumerate(known.presets, start=1)}
    names |= {key.name: f"key-{number}" for number, key in enumerate(known.keys, start=1)}
    names |= {person.user: "<user>", person.host: "<host>", person.host.partition(".")[0]: "<host>"}
    folders = dict.fromkeys(_folders(known), "<folder>")
    folders |= {root.path: f"<root-{number}>" for number, root in enumerate(known.roots, start=1)}
    folders |= {folder: f"<{what}>" for what, folder in person.own_folders.items()}
    folders |= dict.fromkeys((person.home, person.home.resolve()), "~")
    # The home of a user that has none is the root of everything, which names nobody.
    return names | {str(folder): stand_in for folder, stand_in in folders.items() if len(folder.parts) > 1}


def _folders(known: Known) -> Iterator[Path]:
    for model in known.models:
        yield from (model.path, *model.locations)
    yield from (problem.path for problem in known.problems)


def write_bundle(path: Path, report: Report, scrubber: Scrubber, *, with_models: bool) -> None:
    """A zip, readable by its owner only. Raises InvalidRequest where it cannot be written or is there already."""
    files = {
        "about.txt": _ABOUT.format(names="" if with_models else "; so are the names of models"),
        "doctor.json": _json(scrubber.value(report.doctor)),
        "versions.json": _json(scrubber.value(report.versions)),
        "hardware.json": _json(scrubber.value(report.hardware)),
        "settings.json": _json(harmless_settings(report.settings) if report.settings is not None else None),
        "log.txt": "".join(f"{scrubber.text(line)}\n" for line in harmless_log(report.log)),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(packed.getvalue())
    except FileExistsError as error:
        raise InvalidRequest(f"{path} is there already. Choose another name, or delete it.") from error
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror or error}. Choose another place.") from error


def last_lines(files: Iterable[Path]) -> list[str]:
    """The end of the logs, those that were written to last behind the others; what cannot be read is passed over."""
    lines: list[str] = []
    for file in sorted(files, key=_changed_s):
        with suppress(OSError), file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
            lines += log.read(_LOG_BYTES).decode("utf-8", "replace").splitlines()
    return lines[-_LOG_LINES:]


def _changed_s(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
