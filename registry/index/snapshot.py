"""Everything in the database into one ``State``, through the standard library's sqlite3, which is cheap to start."""

from __future__ import annotations

import sqlite3
from collections import defaultdict

from registry.experience import EngineProof, Measurement, Tuning
from registry.index.experience import engine_proofs, evaluations, measurements, tunings
from registry.index.models import Models
from registry.index.pins import stored_pin
from registry.index.presets import stored_preset
from registry.index.rows import (
    Sharing,
    api_key,
    declared_model,
    folder_problem,
    hint,
    root_choice,
    stored_model,
    verdict,
    verification,
)
from registry.index.state import State
from registry.model import Model, Task, Verification

# CROSS: from the few measurements to their models. SQLite by itself goes through all models in the order of their ids,
# which takes ten times as long with 10,000 models (measured).
_WITH_PRESENT_ID = """
    SELECT measurements.*, models.model_id FROM measurements
    CROSS JOIN models ON models.key = measurements.model_key AND models.content = measurements.content
    ORDER BY models.model_id, measurements.device, measurements.threads
"""
_PROOFS_WITH_PRESENT_ID = """
    SELECT engine_proofs.*, models.model_id FROM engine_proofs
    CROSS JOIN models ON models.key = engine_proofs.model_key AND models.content = engine_proofs.content
    ORDER BY models.model_id, engine_proofs.proven_s
"""

_TUNINGS_WITH_PRESENT_ID = """
    SELECT tunings.*, models.model_id FROM tunings
    CROSS JOIN models ON models.key = tunings.model_key AND models.content = tunings.content
    ORDER BY models.model_id, tunings.tuned_s
"""


def read_state(connection: sqlite3.Connection, sharing: Sharing) -> State:
    """Of one moment: the caller holds a transaction. ValueError, KeyError, TypeError: a row makes no sense."""
    query = connection.execute
    tasks = frozenset(Task)
    pins = (dict(row) for row in query("SELECT * FROM pins ORDER BY task"))
    return State(
        models=_read_models(connection, sharing),
        problems={row["path"]: folder_problem(row) for row in query("SELECT * FROM folder_problems ORDER BY path")},
        # A task that only a newer slmreg knows is nobody's business here.
        stored_pins=tuple(stored_pin(pin) for pin in pins if pin["task"] in tasks),
        roots=tuple(root_choice(row) for row in query("SELECT * FROM roots ORDER BY added_at_s, path")),
        hints=tuple(hint(row) for row in query("SELECT * FROM hints ORDER BY position")),
        libraries=dict(tuple(row) for row in query("SELECT sha256, model_id FROM allowed_libraries")),
        stored_evaluations=tuple(evaluations(query("SELECT * FROM evaluations ORDER BY key"))),
        keys=tuple(api_key(row) for row in query("SELECT * FROM api_keys ORDER BY created_s, name")),
        presets=tuple(stored_preset(dict(row)) for row in query("SELECT * FROM presets ORDER BY name")),
    )


def read_measurements(connection: sqlite3.Connection) -> tuple[Measurement, ...]:
    """Those that hold for what the models are now, by present id, device and threads."""
    return tuple(measurements(connection.execute(_WITH_PRESENT_ID)))


def read_engine_proofs(connection: sqlite3.Connection) -> tuple[EngineProof, ...]:
    """Those that hold for what the models are now, by present id, the latest last."""
    return tuple(engine_proofs(connection.execute(_PROOFS_WITH_PRESENT_ID)))


def read_tunings(connection: sqlite3.Connection) -> tuple[Tuning, ...]:
    """Those that hold for what the models are now, by present id, the latest last."""
    return tuple(tunings(connection.execute(_TUNINGS_WITH_PRESENT_ID)))


def read_verification(connection: sqlite3.Connection, key: int) -> Verification | None:
    row = connection.execute("SELECT * FROM verifications WHERE model_key = ?", (key,)).fetchone()
    return verification(row) if row else None


def _read_models(connection: sqlite3.Connection, sharing: Sharing) -> Models:
    verdicts = {
        row["model_key"]: verdict(row)
        for row in connection.execute("SELECT model_key, fingerprint, verified_s, problems FROM verifications")
    }
    others: defaultdict[int, list[Model]] = defaultdict(list)
    for row in connection.execute("SELECT * FROM locations"):
        others[row["model_key"]].append(declared_model(row, row["name"], sharing))
    return Models().followed_by(
        stored_model(
            row,
            sorted(others.get(row["key"], ()), key=lambda other: other.path),
            verdicts.get(row["key"]),
            sharing,
        )
        for row in connection.execute("SELECT * FROM models ORDER BY key")
    )
