from __future__ import annotations

from pathlib import Path

import sqlmodel
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import registry.migrations
from registry.migrations import HEAD
from registry.model import FolderProblem, Model, Source
from registry.rows import model_columns, problem_columns
from registry.store import Registry
from registry.tables import ModelRow, ProblemRow


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(registry.migrations.__file__).parent))
    return ScriptDirectory.from_config(config)


def test_the_newest_revision_is_the_one_the_program_asks_for() -> None:
    assert _scripts().get_current_head() == HEAD


def test_revisions_are_numbered_so_that_text_order_is_age() -> None:
    revisions = [script.revision for script in _scripts().walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)
    assert all(len(revision) == 4 and revision.isdecimal() for revision in revisions)


def test_the_revisions_make_the_tables_that_the_classes_describe(tmp_path: Path) -> None:
    Registry.open(tmp_path / "r.db").close()
    engine = sqlmodel.create_engine(f"sqlite:///{tmp_path / 'r.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, sqlmodel.SQLModel.metadata) == []
    engine.dispose()


def test_every_column_is_written() -> None:
    model = Model(name="m", version="0", alias="m", path=Path("/m"), source=Source.FOLDER)
    assert {"key", "missing_since_s", *model_columns(model, "m")} == set(ModelRow.model_fields)
    assert set(problem_columns(FolderProblem(Path("/m"), "graph_missing", "x"))) == set(ProblemRow.model_fields)
