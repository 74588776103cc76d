"""What is remembered of the names that were asked for, and for how long."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from daemon.meanings import Meanings
from daemon.pool.plan import LoadPlan
from daemon.resolving import Resolved
from registry.model import Preset
from selector.selection import Selection
from tests.fakes import a_model

MODEL = a_model("Phi")
RESOLVED = Resolved(MODEL, LoadPlan(context_tokens=1024, threads=2, need_bytes=1000))
CHOSEN = replace(RESOLVED, selection=cast(Selection, SimpleNamespace()))
OF_A_PRESET = replace(RESOLVED, preset=Preset(name="phi", base="Phi"))


@pytest.mark.parametrize("reference", ["Phi", "Phi:1", " phi ", "PHI:1"])
def test_a_name_and_an_id_are_remembered(reference: str) -> None:
    meanings = Meanings()
    assert meanings.find(reference) is None
    meanings.note(reference, RESOLVED)
    assert meanings.find(reference) is MODEL
    assert meanings.find("phi:1") is MODEL


@pytest.mark.parametrize(
    ("reference", "resolved"), [("an alias", RESOLVED), ("auto", CHOSEN), ("Phi", CHOSEN), ("phi", OF_A_PRESET)]
)
def test_what_may_mean_another_model_the_next_time_is_not(reference: str, resolved: Resolved) -> None:
    meanings = Meanings()
    meanings.note(reference, resolved)
    assert meanings.find(reference) is None


def test_nothing_is_remembered_once_the_models_have_changed_nor_what_was_looked_up_before_that() -> None:
    meanings = Meanings()
    meanings.note("Phi", RESOLVED)
    of_a_request = meanings.snapshot()
    meanings.forget()
    of_a_request.note("Phi:1", RESOLVED)
    assert (meanings.find("Phi"), meanings.find("Phi:1")) == (None, None)
    meanings.snapshot().note("Phi:1", RESOLVED)
    assert meanings.find("Phi:1") is MODEL
