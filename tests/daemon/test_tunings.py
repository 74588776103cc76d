"""What was found of models, in a real registry: for which machine, runtime and files it holds, and what it changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.proofs import installed_runtime
from registry.experience import Tuning
from registry.model import Model
from selector.hardware import Cpu
from tests.daemon.test_catalog import Scene


class Tuned:
    """A catalog with one model, for which something was found."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.scene = Scene(home, **settings).with_tiny("one", "two")
        self.catalog = self.scene.catalog
        self.model = self.catalog.get("one")

    def tuning(self, **changes: Any) -> Tuning:
        tunings = self.catalog.tunings
        found = Tuning(
            model_id=self.model.id,
            content=self.model.content or "",
            runtime=tunings.runtime,
            machine=tunings.machine,
            threads=2,
            prefill_chunk_tokens=64,
            max_concurrent=3,
            tuned_s=5.0,
        )
        return replace(found, **changes)

    def planned(self, model: Model | None = None) -> tuple[int, int | None, int | None]:
        plan = self.catalog.plan(model or self.model)
        return plan.threads, plan.max_concurrent, plan.prefill_chunk_tokens


@pytest.fixture
def tuned(tmp_path: Path) -> Iterator[Tuned]:
    made = Tuned(tmp_path)
    yield made
    made.scene.registry.close()


def test_a_load_is_as_was_found_best_until_that_is_forgotten(tuned: Tuned) -> None:
    assert tuned.planned() == (3, None, None)
    tuned.catalog.tunings.record(tuned.tuning())
    assert tuned.planned() == (2, 3, 64)
    assert tuned.catalog.tunings.forget(tuned.model)
    assert tuned.planned() == (3, None, None)
    assert not tuned.catalog.tunings.forget(tuned.model)


def test_what_was_not_measured_is_as_for_all_models(tuned: Tuned) -> None:
    tuned.catalog.tunings.record(tuned.tuning(max_concurrent=None, prefill_chunk_tokens=None))
    assert tuned.planned() == (2, None, None)


def test_it_holds_for_these_files_this_machine_and_this_runtime_alone(tuned: Tuned) -> None:
    tunings = tuned.catalog.tunings
    assert installed_runtime() == tunings.runtime
    assert tunings.machine == "a CPU, 3 cores"
    for elsewhere in ({"machine": "another"}, {"runtime": "older"}, {"content": "other"}):
        tunings.record(tuned.tuning(**elsewhere))
        assert tuned.planned() == (3, None, None)
    tunings.record(tuned.tuning())
    tuned.scene.machine.known = replace(tuned.scene.machine.known, cpu=Cpu("a CPU", 4, 8, 4))
    tunings.record(tuned.tuning(machine="a CPU, 3 cores", tuned_s=6.0))
    assert tuned.planned() == (4, None, None)


def test_more_requests_than_have_room_are_not_run_at_once(tuned: Tuned) -> None:
    tuned.catalog.tunings.record(tuned.tuning(max_concurrent=12))
    assert tuned.catalog.plan(tuned.model).context_tokens == 2048
    assert tuned.planned() == (2, 4, 64)


@pytest.mark.parametrize(
    ("settings", "planned"),
    [
        ({"threads": 1}, (1, 3, 64)),
        ({"max_concurrent": 5}, (2, None, 64)),
        ({"prefill_chunk_tokens": 128}, (2, 3, None)),
    ],
)
def test_what_somebody_has_set_counts_more(tmp_path: Path, settings: dict[str, int], planned: tuple[Any, ...]) -> None:
    tuned = Tuned(tmp_path, **settings)
    tuned.catalog.tunings.record(tuned.tuning())
    assert tuned.planned() == planned
    tuned.scene.registry.close()


def test_what_was_measured_with_the_threads_that_were_found_best_is_the_models_own(tuned: Tuned) -> None:
    tuned.catalog.tunings.record(tuned.tuning())
    circumstances = tuned.catalog.chooser.unmeasured()
    assert circumstances.threads_of(tuned.model.id) == 2
    # Another folder with the same files runs alike.
    assert circumstances.threads_of("nobody:1") == 3
