"""``registry.json``: what no scan can find again, kept beside the database for the day that the database is damaged.

Pins and the models they are for, full checks, evaluations, choices about roots, hints, allowed libraries, the hashes of
API keys; not what was measured, which is measured again. It is written inside the transaction that changes them, so
that two processes cannot write it in another order than they commit; a crash between the two leaves it one step ahead.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from registry.files.replacing import replace_file
from registry.index.experience import evaluation_columns, evaluations
from registry.index.models import Models
from registry.index.pins import pin_columns, stored_pin
from registry.index.presets import preset_columns, stored_preset
from registry.index.rows import api_key, json_text, key_columns, verification, verification_columns
from registry.index.state import State
from registry.index.stored import StoredModel, Verdict
from registry.model import Hint, Model, RootChoice, Source, Status, Verification

log = logging.getLogger("slmreg.registry")

_T = TypeVar("_T")

_FORMAT = 1
# Ten thousand checked models with ten files each take 15 MB.
_MAX_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Keepsakes:
    """What a sidecar holds. The models in ``state`` are those that it says something about; MISSING until a scan."""

    state: State
    verifications: Mapping[int, Verification]


def sidecar_of(database: Path) -> Path:
    return database.with_suffix(".json")


def has_news(before: State, after: State) -> bool:
    """Whether a write changed anything that the sidecar holds."""
    if _said(before) != _said(after):
        return True
    old = before.models.rows
    return any(
        old.get(key) is not row
        for key, row in after.models.rows.items()
        if row.verdict is not None or key in after.kept_keys
    )


def save_sidecar(path: Path, state: State, verifications: Mapping[int, Verification]) -> bool:
    """Whether it is now as it should be. A failure is logged: the database is what counts."""
    text = _text(state, verifications)
    if text == _text(State(), {}) and not path.exists():
        return True  # nothing to keep yet
    try:
        replace_file(path, text)
    except OSError as error:
        log.warning("registry.sidecar_not_written path=%s error=%r", path, str(error))
        return False
    return True


def read_sidecar(path: Path, *, now_s: float) -> Keepsakes:
    """What can be read of it; nothing if it is not there. Models are missing since ``now_s`` (Unix time).

    Raises OSError, and ValueError for a file that is no sidecar.
    """
    if not path.exists():
        return Keepsakes(State(), {})
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError("it is too large")
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ValueError("it has another format")
    checks = dict(_entries(document, "verifications", lambda each: (int(each["model_key"]), verification(each))))
    models = {row.key: row for row in _entries(document, "models", lambda each: _model(each, now_s))}
    checks = {key: check for key, check in checks.items() if key in models}
    pins = _entries(document, "pins", stored_pin)
    said = _entries(document, "evaluations", lambda each: tuple(evaluations([each])))
    roots = _entries(document, "roots", lambda each: RootChoice(**{**each, "path": Path(each["path"])}))
    libraries = _entries(document, "libraries", lambda each: (str(each["sha256"]), str(each["model_id"])))
    state = State(
        models=Models().followed_by(replace(row, verdict=_verdict(checks.get(key))) for key, row in models.items()),
        stored_pins=tuple(pin for pin in pins if pin.model_key is None or pin.model_key in models),
        roots=tuple(roots),
        hints=tuple(_entries(document, "hints", lambda each: Hint(**each))),
        libraries=dict(libraries),
        stored_evaluations=tuple(each for some in said for each in some if each.model_key in models),
        keys=tuple(_entries(document, "keys", api_key)),
        presets=tuple(_entries(document, "presets", stored_preset)),
    )
    return Keepsakes(state, checks)


def _text(state: State, verifications: Mapping[int, Verification]) -> str:
    rows = state.models.rows
    wanted = sorted({*state.kept_keys, *verifications} & rows.keys())
    return json_text(
        {
            "about": "slmreg keeps this to restore a damaged registry.",
            "format": _FORMAT,
            "models": [_model_entry(rows[key]) for key in wanted],
            "verifications": [verification_columns(key, each) for key, each in sorted(verifications.items())],
            "pins": [pin_columns(pin) for pin in state.stored_pins],
            "evaluations": [evaluation_columns(each) for each in state.stored_evaluations],
            "presets": [preset_columns(preset) for preset in state.presets],
            "roots": [{**asdict(choice), "path": str(choice.path)} for choice in state.roots],
            "hints": [asdict(hint) for hint in state.hints],
            "libraries": [{"sha256": each, "model_id": model_id} for each, model_id in state.libraries.items()],
            "keys": [key_columns(key) for key in state.keys],
        }
    )


def _said(state: State) -> tuple[object, ...]:
    """What people said, without the models that they said it about."""
    pins, evaluations = state.stored_pins, state.stored_evaluations
    return pins, evaluations, state.presets, state.roots, state.hints, state.libraries, state.keys


def _entries(document: Mapping[str, Any], name: str, read: Callable[[Any], _T]) -> Iterator[_T]:
    """Those of a list that can be understood."""
    entries = document.get(name)
    for entry in entries if isinstance(entries, list) else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            yield read(entry)


def _model_entry(row: StoredModel) -> dict[str, Any]:
    declared = row.declared
    return {
        "key": row.key,
        "declared_name": declared.name,
        "name": row.name,
        "duplicate_of": str(row.duplicate_of) if row.duplicate_of else None,
        "version": declared.version,
        "alias": declared.alias,
        "path": str(declared.path),
        "source": str(declared.source),
        "fingerprint": declared.fingerprint,
        "content": declared.content,
        "revision": row.revision,
        "first_seen_s": row.first_seen_s,
        "missing_since_s": row.missing_since_s,
    }


def _model(entry: Mapping[str, Any], now_s: float) -> StoredModel:
    declared = Model(
        name=entry["declared_name"],
        version=entry["version"],
        alias=entry["alias"],
        path=Path(entry["path"]),
        source=Source(entry["source"]),
        status=Status.MISSING,
        fingerprint=entry["fingerprint"],
        content=entry["content"],
    )
    return StoredModel(
        key=int(entry["key"]),
        declared=declared,
        name=entry["name"],
        first_seen_s=float(entry["first_seen_s"]),
        duplicate_of=Path(entry["duplicate_of"]) if entry["duplicate_of"] else None,
        revision=int(entry["revision"]),
        missing_since_s=float(entry["missing_since_s"] or now_s),
    )


def _verdict(known: Verification | None) -> Verdict | None:
    return Verdict(known.fingerprint, known.verified_s, known.problems) if known else None
