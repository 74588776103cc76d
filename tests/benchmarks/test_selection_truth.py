"""The hidden truth is drawn as its description says, the same every time, and what is true decides what fits."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import pytest

from benchmarks.selection.catalog import catalog
from benchmarks.selection.machines import CORES, GIB, TOTAL_GIB, draw_machine
from benchmarks.selection.truth import Loaded, Option, State, World, draw_world, options_of
from registry.model import Device, Task
from selector.budget import available_bytes
from selector.hardware import Accelerator, Hardware
from selector.quality import estimate_quality
from selector.speed import ROOFLINE_BAND, predict_speed
from tests.selector.samples import make_machine

MODELS = catalog()
OPTIONS = {task: options_of(MODELS, task) for task in (Task.CHAT, Task.TOOLS)}


def world_of(number: int, seed: int = 1) -> World:
    return draw_world(MODELS, OPTIONS, draw_machine(number, seed), number, seed)


def option(name: str, task: Task = Task.CHAT) -> Option:
    return next(each for each in OPTIONS[task] if each.model.name == name)


def on(hardware: Hardware, **truth: float) -> World:
    """On a given machine, with ``memory`` as the factor of every model's memory."""
    world = draw_world(MODELS, OPTIONS, hardware, 0, 1)
    return replace(world, memory_factors={model.id: truth.get("memory", 1.0) for model in MODELS})


def test_a_world_depends_on_its_number_and_seed_alone() -> None:
    assert world_of(3) == world_of(3)
    assert world_of(3).speeds != world_of(4).speeds
    assert world_of(3).speeds != world_of(3, seed=2).speeds


def test_machines_span_what_was_asked_for_and_repeat() -> None:
    machines = [draw_machine(number, 1) for number in range(300)]

    assert {machine.memory.total_bytes // GIB for machine in machines} == set(TOTAL_GIB)
    assert {machine.cpu.usable_cores for machine in machines} == set(CORES)
    assert 0.2 < fmean(bool(machine.accelerators) for machine in machines) < 0.4
    assert 0.15 < fmean(machine.memory.limit_bytes is not None for machine in machines) < 0.35
    for machine in machines:
        limit = machine.memory.limit_bytes or machine.memory.total_bytes
        assert 0 < machine.memory.available_bytes < limit <= machine.memory.total_bytes
    assert machines[7] == draw_machine(7, 1)


def test_nine_of_ten_speeds_lie_within_the_roofline_band() -> None:
    within = []
    for number in range(150):
        world = world_of(number)
        for model in MODELS:
            ratio = world.speeds[model.id].tokens_per_second / predict_speed(model, world.hardware).tokens_per_second
            within.append(ROOFLINE_BAND[0] <= ratio <= ROOFLINE_BAND[1])

    assert fmean(within) == pytest.approx(0.90, abs=0.03)


def test_a_slow_machine_is_slow_for_all_its_models() -> None:
    def middle(number: int) -> float:
        world = world_of(number)
        return fmean(
            math.log(world.speeds[m.id].tokens_per_second / predict_speed(m, world.hardware).tokens_per_second)
            for m in MODELS
            if m.device is Device.CPU
        )

    middles = [middle(number) for number in range(40)]

    assert max(middles) - min(middles) > 1.0


def test_memory_is_within_a_tenth_of_the_formula_for_19_of_20() -> None:
    factors = [factor for number in range(100) for factor in world_of(number).memory_factors.values()]

    assert fmean(1 / 1.1 <= factor <= 1.1 for factor in factors) == pytest.approx(0.95, abs=0.01)


def test_variants_of_one_model_are_equally_able_but_for_their_precision() -> None:
    truths = world_of(5).qualities[Task.CHAT]
    cpu, gpu, int8 = (
        truths[f"qwen2.5-3b-instruct{suffix}:1", None] for suffix in ("-generic-cpu", "-cuda-gpu", "-int8-generic-cpu")
    )

    assert cpu.general_points == gpu.general_points == int8.general_points
    assert cpu.quantisation_points < int8.quantisation_points < 0


def test_true_quality_spreads_about_the_estimate_as_the_estimate_says() -> None:
    each = option("phi-4-mini-instruct-generic-cpu")
    prior = estimate_quality(each.model, Task.CHAT)
    truths = [world_of(number).qualities[Task.CHAT][each.key].general_points for number in range(400)]

    mean = fmean(truths)
    assert mean == pytest.approx(prior.general_points, abs=1.0)
    assert math.sqrt(fmean((t - mean) ** 2 for t in truths)) == pytest.approx(prior.spread_points, rel=0.15)


def test_what_needs_more_than_is_free_does_not_fit_whatever_the_prediction_says() -> None:
    each = option("qwen2.5-3b-instruct-generic-cpu")
    machine = make_machine(available_gb=each.need.total_bytes / 1e9 * 1.05)

    assert on(machine, memory=1.04).fits(each, State(machine))
    assert not on(machine, memory=1.06).fits(each, State(machine))
    assert on(machine, memory=1.06).utility(Task.CHAT, each, State(machine)) is None


def test_what_is_loaded_fits_and_waits_for_no_load() -> None:
    each = option("qwen2.5-3b-instruct-generic-cpu")
    machine = make_machine(available_gb=6)
    world = on(machine)
    loaded = world.load(each)
    cold, warm = State(machine), State.after_load(machine, loaded)
    slow = replace(world, speeds={k: replace(s, load_s=500.0, tokens_per_second=5.0) for k, s in world.speeds.items()})

    assert warm.hardware.memory.available_bytes == machine.memory.available_bytes - loaded.resident_bytes
    assert available_bytes(warm.hardware, warm.sessions) == available_bytes(machine)
    cold_utility, warm_utility = (slow.utility(Task.CHAT, each, state) for state in (cold, warm))
    assert cold_utility is not None
    assert warm_utility is not None
    assert warm_utility > cold_utility


def test_a_loaded_model_gives_the_memory_of_its_own_device_back() -> None:
    card = Accelerator("card", Device.GPU, 8 * GIB, 8 * GIB, usable=True)
    machine = make_machine(available_gb=10, accelerators=(card,))
    each = option("qwen2.5-7b-instruct-cuda-gpu")
    state = State.after_load(machine, Loaded(each.model, 1 * GIB, 6 * GIB))

    assert state.hardware.accelerators[0].memory_available_bytes == 2 * GIB
    assert state.free_bytes(each.model) == 8 * GIB
    on_cpu = option("qwen2.5-7b-instruct-generic-cpu").model
    assert state.free_bytes(on_cpu) == machine.memory.available_bytes - 1 * GIB
