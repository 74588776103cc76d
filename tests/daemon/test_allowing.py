from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.allowing import library_of
from registry.errors import ModelNotUsable
from registry.model import Model, Status
from registry.store import Registry
from tests.fakes import a_model


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "registry.db") as opened:
        yield opened


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "ops.so").write_bytes(b"code")
    return a_model("m", path=tmp_path / "m", status=Status.BLOCKED, custom_ops_library="ops.so")


def test_a_library_is_known_by_its_content(registry: Registry, model: Model) -> None:
    sha256 = hashlib.sha256(b"code").hexdigest()
    library = library_of(registry, model)
    assert (library.sha256, library.size_bytes, library.path) == (sha256, 4, model.path / "ops.so")
    assert not library.is_allowed
    registry.allow_library(sha256, model_id=model.id)
    assert library_of(registry, model).is_allowed
    library.path.write_bytes(b"other code")
    assert not library_of(registry, model).is_allowed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"custom_ops_library": None}, "nothing to allow"),
        ({"custom_ops_library": "gone.so"}, "cannot be read"),
        ({"status": Status.MISSING}, "is missing"),
    ],
)
def test_what_cannot_be_allowed_is_said(
    registry: Registry, model: Model, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ModelNotUsable, match=says):
        library_of(registry, replace(model, **changes))  # type: ignore[arg-type]
