from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlmodel
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import registry.index.migrations
from registry.index.experience import evaluation_columns, keyed_columns, measurement_columns
from registry.index.migrations import HEAD
from registry.index.pins import StoredPin, pin_columns
from registry.index.presets import preset_columns
from registry.index.rows import key_columns, model_columns, problem_columns, verification_columns
from registry.index.schema import KEPT_BACKUPS, backups_of, open_engine
from registry.index.stored import StoredEvaluation, StoredModel
from registry.index.tables import (
    ApiKeyRow,
    EngineProofRow,
    EvaluationRow,
    MeasurementRow,
    ModelRow,
    PinRow,
    PresetRow,
    ProblemRow,
    TuningRow,
    VerificationRow,
)
from registry.model import (
    ApiKey,
    Fallback,
    FolderProblem,
    KeyScope,
    Model,
    Pin,
    Preset,
    RootChoice,
    ScanReport,
    Source,
    Status,
    Task,
    Verification,
)
from registry.store import Registry
from tests.registry.samples import MEASURED, PROVEN, RICH, SAID, TUNED

PHI = replace(RICH, name="Phi-4", fingerprint="f1", content="")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(registry.index.migrations.__file__).parent))
    return config


def _migrated(path: Path, to: str) -> None:
    """By Alembic alone, as an older slmreg did it."""
    step: Callable[[Config, str], None] = (
        command.downgrade if path.exists() and path.stat().st_size else command.upgrade
    )
    config = _config()
    with open_engine(path).begin() as connection:
        config.attributes["connection"] = connection
        step(config, to)


@pytest.fixture
def first_schema(tmp_path: Path) -> Path:
    """A registry as 0001 had it: two models with one id, a missing one, a pin, a root, a problem."""
    path = tmp_path / "r.db"
    _migrated(path, "0001")
    columns = (
        "key, model_id, declared_name, name, version, alias, path, source, status, problems, tasks, family, model_type,"
        " parameters, precision, accuracy_level, execution_provider, device, size_bytes, weight_bytes, context_tokens,"
        " kv_bytes_per_token, vocab_size, publisher, license, fingerprint, evidence, missing_since_s"
    )
    facts = (3_800_000_000, "int4", 4, "cpu", "cpu", 2**33, 2**32, 131_072, 131_072, 200_064, "Microsoft", "MIT")
    own = json.dumps([["unknown_execution_provider", "Which?", "genai_config.json"]])
    twice = json.dumps([["duplicate_id", "Also at /r/phi.", None]])
    tasks, evidence = json.dumps(["chat", "tools"]), json.dumps({"context_tokens": "default"})
    rows = [
        (3, "Phi-4:5", "Phi-4", "Phi-4", "5", "phi-4", "/r/phi", "foundry", "ready", own, "f1", None),
        (4, "Phi-4-1a2b:5", "Phi-4", "Phi-4-1a2b", "5", "phi-4", "/r/copy", "folder", "ready", twice, "f2", None),
        (9, "old:1", "old", "old", "1", "old", "/r/old", "folder", "missing", "[]", "f3", 1234.5),
    ]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            f"INSERT INTO models ({columns}) VALUES ({', '.join('?' * 28)})",  # noqa: S608 - no input of anybody
            [(*row[:10], tasks, "phi", "phi3", *facts, row[10], evidence, row[11]) for row in rows],
        )
        connection.execute(
            "INSERT INTO folder_problems VALUES ('/r/bad', 'graph_missing', 'Copy.', 'm.onnx', 'invalid')"
        )
        connection.execute("INSERT INTO roots VALUES ('/b', 20.0), ('/a', 30.0)")
        connection.execute("INSERT INTO pins VALUES ('chat', 9), ('code', 4)")
        connection.execute("INSERT INTO scans VALUES (1, 99.0)")
    return path


def test_everything_of_the_first_schema_is_kept(first_schema: Path) -> None:
    with Registry.open(first_schema) as opened:
        phi, copy, old = opened.get("Phi-4:5"), opened.get("Phi-4-1a2b:5"), opened.get("old")
        assert phi == PHI
        assert [problem.code for problem in copy.problems] == ["duplicate_id"]
        assert "/r/phi" in copy.problems[0].message
        assert (old.status, old.missing_since_s) == (Status.MISSING, 1234.5)
        assert opened.pins() == (Pin(Task.CHAT, "old:1"), Pin(Task.CODE, "Phi-4-1a2b:5"))
        assert opened.root_choices() == (RootChoice(Path("/b")), RootChoice(Path("/a")))
        assert [problem.code for problem in opened.problems()] == ["graph_missing"]
        assert opened.recovered is None


def test_what_was_known_before_keeps_its_row_when_it_is_read_again(first_schema: Path) -> None:
    with Registry.open(first_schema) as opened:
        read = Model(name="old", version="1", alias="old", path=Path("/r/new"), source=Source.FOLDER, content="c")
        opened.apply(ScanReport((read,), (), (Path("/r/new"),), 0.0))
        assert opened.pins()[0] == Pin(Task.CHAT, "old:1")
        assert (opened.get("old").path, opened.get("old").revision) == (Path("/r/new"), 1)


def test_the_old_file_is_kept_beside_the_new_one(first_schema: Path) -> None:
    Registry.open(first_schema).close()
    (backup,) = backups_of(first_schema)
    with contextlib.closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert connection.execute("SELECT count(*) FROM models").fetchone() == (3,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_only_the_last_backups_are_kept(first_schema: Path) -> None:
    for number in range(KEPT_BACKUPS):
        first_schema.with_name(f"{first_schema.name}.schema-000{number}").touch()
    Registry.open(first_schema).close()
    assert [backup.name[-4:] for backup in backups_of(first_schema)][-1] == "0001"
    assert len(backups_of(first_schema)) == KEPT_BACKUPS


def test_a_registry_can_go_back_to_the_first_schema_and_up_again(first_schema: Path) -> None:
    def waiting_and_checked(opened: Registry) -> None:
        opened.pin_later(Task.MATH, "nobody has it")
        opened.switch_root(Path("/found"), is_enabled=False)
        opened.record_verification("Phi-4:5", Verification("f1", 1.0, {"model.onnx": "00"}))

    with Registry.open(first_schema) as opened:
        waiting_and_checked(opened)
    _migrated(first_schema, "0001")
    with Registry.open(first_schema) as opened:
        assert opened.get("Phi-4:5") == PHI
        assert opened.pins() == (Pin(Task.CHAT, "old:1"), Pin(Task.CODE, "Phi-4-1a2b:5"))
        assert opened.root_choices() == (RootChoice(Path("/b")), RootChoice(Path("/a")))


def test_pins_of_the_second_schema_are_kept_and_go_down_without_patterns(first_schema: Path) -> None:
    Registry.open(first_schema).close()
    _migrated(first_schema, "0002")
    with contextlib.closing(sqlite3.connect(first_schema)) as connection, connection:
        connection.execute("INSERT INTO pins (task, reference) VALUES ('math', 'later')")
    by_id = (Pin(Task.CHAT, "old:1"), Pin(Task.CODE, "Phi-4-1a2b:5"))
    later = Pin(Task.MATH, "later", is_waiting=True)
    with Registry.open(first_schema) as opened:
        assert opened.pins() == (*by_id, later)
        assert (opened.measurements(), opened.evaluations()) == ((), ())
        opened.pin(Task.CHAT, "old:1", fallback=Fallback.AUTO)
        opened.pin_pattern(Task.TOOLS, "phi*")
        opened.record_measurements([replace(MEASURED, model_id="old:1", content="")])
        opened.add_evaluation(replace(SAID, model_id="old:1", content=""))
        assert (len(opened.measurements()), len(opened.evaluations())) == (1, 1)
    _migrated(first_schema, "0002")
    with contextlib.closing(sqlite3.connect(first_schema)) as connection:
        pins = connection.execute("SELECT task, model_key, reference FROM pins ORDER BY task").fetchall()
        assert pins == [("chat", 9, None), ("code", 4, None), ("math", None, "later")]
    with Registry.open(first_schema) as opened:
        assert opened.pins() == (*by_id, later)
        assert (opened.measurements(), opened.evaluations()) == ((), ())


def test_keys_are_lost_on_the_way_down_and_nothing_else(first_schema: Path) -> None:
    with Registry.open(first_schema) as opened:
        opened.add_key(ApiKey("laptop", KeyScope.USE, "00" * 32, 1.0))
    _migrated(first_schema, "0003")
    with Registry.open(first_schema) as opened:
        assert (opened.api_keys(), opened.get("Phi-4:5"), len(opened.pins())) == ((), PHI, 2)


def test_tunings_are_lost_on_the_way_down_and_nothing_else(first_schema: Path) -> None:
    with Registry.open(first_schema) as opened:
        opened.set_preset(Preset(name="p", base="Phi-4"))
        opened.record_tuning(replace(TUNED, model_id="Phi-4:5", content=""))
        assert len(opened.tunings()) == 1
    _migrated(first_schema, "0006")
    with Registry.open(first_schema) as opened:
        assert (opened.tunings(), len(opened.presets()), opened.get("Phi-4:5")) == ((), 1, PHI)


def test_presets_are_lost_on_the_way_down_and_nothing_else(first_schema: Path) -> None:
    with Registry.open(first_schema) as opened:
        opened.set_preset(Preset(name="p", base="Phi-4"))
        pins = opened.pins()
    _migrated(first_schema, "0003")
    with Registry.open(first_schema) as opened:
        assert (opened.presets(), opened.pins()) == ((), pins)


def test_the_newest_revision_is_the_one_the_program_asks_for() -> None:
    assert ScriptDirectory.from_config(_config()).get_current_head() == HEAD


def test_revisions_are_numbered_so_that_text_order_is_age() -> None:
    revisions = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)
    assert all(len(revision) == 4 and revision.isdecimal() for revision in revisions)


@pytest.mark.parametrize("start", ["new", "0001", "0002", "0003"])
def test_the_revisions_make_the_tables_that_the_classes_describe(start: str, tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    if start != "new":
        _migrated(path, start)
    Registry.open(path).close()
    engine = sqlmodel.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, sqlmodel.SQLModel.metadata) == []
    engine.dispose()


def test_every_column_is_written() -> None:
    model = Model(name="m", version="0", alias="m", path=Path("/m"), source=Source.FOLDER)
    assert set(model_columns(StoredModel(1, model, "m", 0.0))) == set(ModelRow.model_fields)
    assert set(problem_columns(FolderProblem(Path("/m"), "graph_missing", "x"))) == set(ProblemRow.model_fields)
    assert set(verification_columns(1, Verification("f", 0.0, {}))) == set(VerificationRow.model_fields)
    assert set(pin_columns(StoredPin(Task.CHAT, 1))) == set(PinRow.model_fields)
    assert set(preset_columns(Preset(name="p", base="m"))) == set(PresetRow.model_fields)
    assert set(measurement_columns(1, MEASURED)) == set(MeasurementRow.model_fields)
    assert set(keyed_columns(1, PROVEN)) == set(EngineProofRow.model_fields)
    assert set(keyed_columns(1, TUNED)) == set(TuningRow.model_fields)
    assert set(evaluation_columns(StoredEvaluation(1, 1, SAID))) == set(EvaluationRow.model_fields)
    assert set(key_columns(ApiKey("n", KeyScope.USE, "00", 0.0))) == set(ApiKeyRow.model_fields)
