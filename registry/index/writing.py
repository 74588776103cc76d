"""The statements that change the database, each inside a transaction that ``registry.store`` holds open.

SQLAlchemy is imported in the functions: this module is imported by readers too, and they never need it. Rows go in as
plain dictionaries: an object of the mapper for each of ten thousand takes longer than reading their folders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from registry.experience import EngineProof, Evaluation, Measurement, Tuning
from registry.index.experience import evaluation_columns, keyed_columns, measurement_columns
from registry.index.models import Models
from registry.index.pins import StoredPin, pin_columns
from registry.index.plan import Plan
from registry.index.presets import preset_columns
from registry.index.rows import (
    hint_columns,
    key_columns,
    location_columns,
    model_columns,
    problem_columns,
    verification,
    verification_columns,
)
from registry.index.sidecar import Keepsakes
from registry.index.stored import StoredEvaluation, StoredModel
from registry.model import ApiKey, Hint, Preset, RootChoice, Task, Verification

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table


_T = TypeVar("_T")
_BATCH = 500
# Kept of one model: on three devices with some numbers of threads, and of contents that it had before (judged).
MAX_MEASUREMENTS = 16
# Of the runtimes and contents that a model had lately (judged).
MAX_ENGINE_PROOFS = 8
MAX_TUNINGS = 8


def write_plan(connection: Connection, plan: Plan, before: Models) -> None:
    for table in ("locations", "verifications", "measurements", "engine_proofs", "tunings", "evaluations"):
        _delete(connection, table, "model_key", plan.forgotten)
    _delete(connection, "models", "key", plan.forgotten)
    _write_models(connection, plan.rows, before)
    _write_locations(connection, plan.rows, before)
    changed = [problem_columns(problem) for problem in plan.problems]
    _delete(connection, "folder_problems", "path", [*plan.solved, *(columns["path"] for columns in changed)])
    _insert(connection, "folder_problems", changed)


def write_root(connection: Connection, choice: RootChoice, *, now_s: float) -> None:
    """``now_s``, Unix time, is the place of a new one in their order."""
    from sqlalchemy import update

    table = _table("roots")
    values = {"is_added": choice.is_added, "is_enabled": choice.is_enabled, "settle_s": choice.settle_s}
    done = connection.execute(update(table).where(table.c.path == str(choice.path)).values(**values))
    if not done.rowcount:
        _insert(connection, "roots", [{"path": str(choice.path), "added_at_s": now_s, **values}])


def delete_root(connection: Connection, path: Path) -> None:
    _delete(connection, "roots", "path", [str(path)])


def write_pin(connection: Connection, pin: StoredPin) -> None:
    delete_pin(connection, pin.task)
    _insert(connection, "pins", [pin_columns(pin)])


def delete_pin(connection: Connection, task: Task) -> None:
    _delete(connection, "pins", "task", [str(task)])


def write_preset(connection: Connection, preset: Preset) -> None:
    delete_preset(connection, preset.name)
    _insert(connection, "presets", [preset_columns(preset)])


def delete_preset(connection: Connection, name: str) -> None:
    _delete(connection, "presets", "name", [name])


def write_hints(connection: Connection, hints: Sequence[Hint]) -> None:
    """In place of all that are there."""
    from sqlalchemy import delete

    connection.execute(delete(_table("hints")))
    _insert(connection, "hints", [hint_columns(position, hint) for position, hint in enumerate(hints)])


def write_library(connection: Connection, sha256: str, model_id: str, *, now_s: float) -> None:
    delete_library(connection, sha256)
    _insert(connection, "allowed_libraries", [{"sha256": sha256, "model_id": model_id, "allowed_at_s": now_s}])


def delete_library(connection: Connection, sha256: str) -> None:
    _delete(connection, "allowed_libraries", "sha256", [sha256])


def write_key(connection: Connection, key: ApiKey) -> None:
    _insert(connection, "api_keys", [key_columns(key)])


def delete_key(connection: Connection, name: str) -> None:
    _delete(connection, "api_keys", "name", [name])


def write_verification(connection: Connection, key: int, check: Verification) -> None:
    _delete(connection, "verifications", "model_key", [key])
    _insert(connection, "verifications", [verification_columns(key, check)])


def write_evaluation(connection: Connection, model_key: int, said: Evaluation) -> int:
    """Its key."""
    from sqlalchemy import insert

    columns = evaluation_columns(StoredEvaluation(0, model_key, said))
    del columns["key"]  # which only the table can give: it may hold some of a newer slmreg
    return connection.execute(insert(_table("evaluations")).values(columns)).lastrowid


def delete_evaluations(connection: Connection, keys: Collection[int]) -> None:
    _delete(connection, "evaluations", "key", keys)


def write_measurements(connection: Connection, measured: Sequence[tuple[int, Measurement]]) -> None:
    """Each with the key of its model's row, in place of an older one of that; the latest are kept."""
    rows = [measurement_columns(key, each) for key, each in measured]
    _replace(connection, "measurements", rows, "measured_s", MAX_MEASUREMENTS)


def write_engine_proof(connection: Connection, model_key: int, proof: EngineProof) -> int:
    """In place of an older one of the same content and runtime; the latest are kept."""
    return _replace(connection, "engine_proofs", [keyed_columns(model_key, proof)], "proven_s", MAX_ENGINE_PROOFS)


def write_tuning(connection: Connection, model_key: int, tuning: Tuning) -> int:
    """In place of an older one of the same content, runtime and machine; the latest are kept."""
    return _replace(connection, "tunings", [keyed_columns(model_key, tuning)], "tuned_s", MAX_TUNINGS)


def delete_tunings(connection: Connection, model_key: int) -> int:
    """All of a model; how many there were."""
    from sqlalchemy import delete

    table = _table("tunings")
    return connection.execute(delete(table).where(table.c.model_key == model_key)).rowcount


def _replace(connection: Connection, table: str, rows: Sequence[Mapping[str, Any]], time: str, number: int) -> int:
    """Rows of models in place of older ones with the same primary key, and then the latest ``number`` of each model by
    the column ``time``: how many were written.
    """
    from sqlalchemy import insert

    connection.execute(insert(_table(table)).prefix_with("OR REPLACE"), rows)
    for key in {row["model_key"] for row in rows}:
        _keep_latest(connection, table, time, key, number)
    return len(rows)


def _keep_latest(connection: Connection, table: str, time: str, model_key: int, number: int) -> None:
    """Of a model; ``time`` is the column to judge by."""
    latest = f"SELECT rowid FROM {table} WHERE model_key = :key ORDER BY {time} DESC, rowid DESC LIMIT :number"  # noqa: S608 - no input
    connection.exec_driver_sql(
        f"DELETE FROM {table} WHERE model_key = :key AND rowid NOT IN ({latest})",  # noqa: S608 - no input
        {"key": model_key, "number": number},
    )


def write_keepsakes(connection: Connection, keepsakes: Keepsakes, *, now_s: float) -> None:
    """Into an empty database."""
    state = keepsakes.state
    _insert(connection, "models", [model_columns(row) for row in state.models.rows.values()])
    for key, check in keepsakes.verifications.items():
        write_verification(connection, key, check)
    for pin in state.stored_pins:
        write_pin(connection, pin)
    for place, choice in enumerate(state.roots):
        write_root(connection, choice, now_s=now_s + place)
    write_hints(connection, state.hints)
    _insert(connection, "evaluations", [evaluation_columns(each) for each in state.stored_evaluations])
    for preset in state.presets:
        write_preset(connection, preset)
    for sha256, model_id in state.libraries.items():
        write_library(connection, sha256, model_id, now_s=now_s)
    for api_key in state.keys:
        write_key(connection, api_key)


def read_verifications(connection: Connection) -> dict[int, Verification]:
    """By the key of the model's row, with what this transaction has changed."""
    from sqlalchemy import select

    rows = connection.execute(select(_table("verifications"))).mappings()
    return {row["model_key"]: verification({**row}) for row in rows}


def _write_models(connection: Connection, rows: Sequence[StoredModel], before: Models) -> None:
    from sqlalchemy import bindparam, update

    known = [row for row in rows if row.key in before.rows]
    table = _table("models")
    by_key = update(table).where(table.c.key == bindparam("row_key"))
    # Ids are unique and may be swapped between rows: free them all before any is given.
    freed = [row.key for row in known if before.rows[row.key].model.id != row.model.id]
    for keys in _batches(freed):
        connection.execute(by_key, [{"row_key": key, "model_id": f"\n{key}"} for key in keys])
    for some in _batches(known):
        connection.execute(by_key, [{**model_columns(row), "row_key": row.key} for row in some])
    for some in _batches([row for row in rows if row.key not in before.rows]):
        _insert(connection, "models", [model_columns(row) for row in some])


def _write_locations(connection: Connection, rows: Sequence[StoredModel], before: Models) -> None:
    """Delete all that change before any is inserted: a folder may go from one row to another."""
    old = {row.key: before.rows[row.key].others for row in rows if row.key in before.rows}
    changed = [row for row in rows if row.others != old.get(row.key, ())]
    _delete(connection, "locations", "model_key", [row.key for row in changed if old.get(row.key)])
    _insert(connection, "locations", [location_columns(row.key, other) for row in changed for other in row.others])


def _batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The columns of ten thousand rows at once would take tens of megabytes."""
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


def _insert(connection: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from sqlalchemy import insert

    if rows:
        connection.execute(insert(_table(table)), rows)


def _delete(connection: Connection, table: str, column: str, values: Collection[int | str]) -> None:
    from sqlalchemy import bindparam, delete

    if values:
        chosen = _table(table)
        doomed = delete(chosen).where(chosen.c[column] == bindparam("value"))
        connection.execute(doomed, [{"value": value} for value in values])


def _table(name: str) -> Table:
    from sqlmodel import SQLModel

    import registry.index.tables  # noqa: F401 - registers the tables

    return SQLModel.metadata.tables[name]
