"""Regret is what it says, our part learns only what a daemon can see, and a machine gives the same every time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from benchmarks.selection.catalog import catalog
from benchmarks.selection.experience import Experience, changes_of
from benchmarks.selection.machines import jittered
from benchmarks.selection.simulation import (
    CHECKPOINTS,
    KNOWING,
    OURS,
    OURS_TESTED,
    TASKS,
    Figures,
    Machine,
    Outcome,
    figures,
    in_its_way,
    judge,
    knowing_but_quality,
    run_machine,
    simulate,
)
from benchmarks.selection.truth import FAILURE_LOSS, Option, State, World, draw_world, options_of
from registry.model import Task
from selector.hardware import Probes
from tests.selector.samples import GB, make_machine

MODELS = catalog()
OPTIONS = {Task.CHAT: options_of(MODELS, Task.CHAT)}
MACHINE = make_machine(available_gb=12, cores=8, probes=Probes(60e9, 500e9))


def world(available_gb: float = 12) -> World:
    machine = jittered(MACHINE, int(available_gb * GB))
    return draw_world(MODELS, OPTIONS, machine, 0, 1)


def option(name: str, thinking: bool | None = None) -> Option:
    return next(each for each in OPTIONS[Task.CHAT] if each.key == (f"{name}:1", thinking))


def utility(here: World, each: Option) -> float:
    found = here.utility(Task.CHAT, each, State(here.hardware))
    assert found is not None
    return found


def test_regret_is_the_difference_to_the_best_choice() -> None:
    here = world()
    state = State(here.hardware)
    fitting = [each for each in OPTIONS[Task.CHAT] if here.fits(each, state) and each.model.device == "cpu"]
    best = max(fitting, key=lambda each: utility(here, each))
    other = option("qwen2.5-1.5b-instruct-generic-cpu")

    assert judge("", Task.CHAT, best, here, state).regret == 0
    found = judge("", Task.CHAT, other, here, state)
    assert found.regret == pytest.approx(utility(here, best) - utility(here, other))
    assert not found.failed
    assert not found.is_missing


def test_a_pick_that_does_not_fit_fails() -> None:
    here = world(available_gb=3)

    found = judge("", Task.CHAT, option("phi-4-generic-cpu"), here, State(here.hardware))

    assert (found.regret, found.failed, found.is_missing) == (FAILURE_LOSS, True, False)


def test_no_pick_costs_as_much_unless_nothing_fits() -> None:
    here, full = world(available_gb=3), world(available_gb=0.2)

    missing = judge("", Task.CHAT, None, here, State(here.hardware))
    right = judge("", Task.CHAT, None, full, State(full.hardware))

    assert (missing.regret, missing.is_missing, missing.failed) == (FAILURE_LOSS, True, False)
    assert (right.regret, right.is_missing, right.failed) == (0.0, False, False)


def test_what_would_take_memory_that_is_left_to_others_is_marked() -> None:
    tight, roomy = world(available_gb=2), world(available_gb=6)  # 1.6 GB of 16 are left to others

    assert judge("", Task.CHAT, None, tight, State(tight.hardware)).is_reserved
    assert not judge("", Task.CHAT, None, roomy, State(roomy.hardware)).is_reserved


def test_knowing_all_but_quality_is_never_wrong_when_quality_is_as_expected() -> None:
    here = world()
    expected = {
        each.key: replace(each.quality, general_points=each.quality.general_points + each.quality.speciality_points)
        for each in OPTIONS[Task.CHAT]
    }
    plain = replace(here, qualities={Task.CHAT: expected})
    state = State(here.hardware)

    pick = knowing_but_quality(Task.CHAT, plain, state)

    assert judge("", Task.CHAT, pick, plain, state).regret == pytest.approx(0)


def test_another_programs_choice_thinks_if_it_can() -> None:
    here = world()

    assert in_its_way(option("qwen3-4b-generic-cpu", False).model, Task.CHAT, here) == option(
        "qwen3-4b-generic-cpu", True
    )
    assert in_its_way(None, Task.CHAT, here) is None


def test_figures_are_means_and_shares() -> None:
    def outcome(regret: float, *, failed: bool = False, is_missing: bool = False) -> Outcome:
        return Outcome("ours", Task.CHAT, regret, failed, is_missing, is_reserved=False)

    machines = [
        Machine((outcome(0), outcome(2)), {"ours": 1}),
        Machine((outcome(40, failed=True), outcome(40, is_missing=True)), {"ours": 2}),
    ]

    assert figures(machines) == {
        "ours": Figures(choices=4, mean_regret=20.5, p95_regret=40.0, failed_share=0.25, missing_share=0.25, flaps=1.5)
    }


def test_changes_are_counted_between_neighbours() -> None:
    assert changes_of([]) == 0
    assert changes_of(["a", "a", "b", None, None, "b"]) == 3


def test_a_machine_gives_the_same_every_time_and_judges_every_strategy_for_every_task() -> None:
    machine = run_machine(2, seed=1)

    assert machine == run_machine(2, seed=1)
    assert machine != run_machine(2, seed=2)
    judged = {(outcome.strategy, outcome.task) for outcome in machine.outcomes}
    assert len(judged) == len(machine.outcomes)
    assert {(name, task) for name in (*OURS.values(), OURS_TESTED, KNOWING) for task in TASKS} <= judged
    assert all(outcome.regret >= 0 for outcome in machine.outcomes)


def test_more_machines_or_processes_do_not_change_the_first_ones() -> None:
    assert simulate(2, 1, workers=2) == [run_machine(0, seed=1), run_machine(1, seed=1)]


def test_a_model_that_turns_out_slow_is_left_for_another() -> None:
    here = world()
    first = Experience(Task.CHAT, here, Random(1)).choose()
    assert first is not None
    slow = {
        model_id: replace(speed, tokens_per_second=speed.tokens_per_second / 20)
        if model_id == first.model.id
        else speed
        for model_id, speed in here.speeds.items()
    }
    experience = Experience(Task.CHAT, replace(here, speeds=slow), Random(1))

    chosen = [experience.answer() for _ in range(CHECKPOINTS[-1])]

    assert chosen[0] == first
    last = experience.choose()
    assert last is not None
    assert last.model.id != first.model.id


def test_what_did_not_fit_is_not_tried_again_at_once() -> None:
    here = world()
    first = Experience(Task.CHAT, here, Random(1)).choose()
    assert first is not None
    large = {**here.memory_factors, first.model.id: 10.0}
    experience = Experience(Task.CHAT, replace(here, memory_factors=large), Random(1))

    assert experience.answer() == first
    assert experience.state.loaded is None
    again = experience.choose()
    assert again is not None
    assert again.model.id != first.model.id


def test_the_chosen_model_stays_loaded_and_asking_changes_nothing() -> None:
    experience = Experience(Task.CHAT, world(), Random(1))

    chosen = experience.answer()
    before = experience.state
    asked = [experience.choose() for _ in range(3)]

    assert chosen is not None
    assert before.is_loaded(chosen.model)
    assert before.hardware.memory.available_bytes < MACHINE.memory.available_bytes
    assert experience.state is before
    assert asked == asked[:1] * 3


def test_tests_move_the_choice_to_what_is_better_here() -> None:
    here = world()
    experience = Experience(Task.CHAT, here, Random(1))
    first = experience.choose()
    assert first is not None
    useless = {
        key: replace(quality, general_points=1.0, quantisation_points=0.0)
        if key[0] == first.model.id
        else replace(quality, general_points=100.0, quantisation_points=0.0)
        for key, quality in here.qualities[Task.CHAT].items()
    }
    experience = Experience(Task.CHAT, replace(here, qualities={Task.CHAT: useless}), Random(1))

    experience.test()

    after = experience.choose()
    assert after is not None
    assert after.model.id != first.model.id
