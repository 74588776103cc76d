"""Every way of choosing on many machines, against the truth that none of them sees.

Regret is the true utility of the best choice at that moment less that of the pick, the loaded model being loaded for
both. The best choice may fill memory to the last byte, at the price that the utility has for it; slmreg leaves some to
other programs. A pick that does not fit, and no pick where something fits, cost ``FAILURE_LOSS``.

Invariant: one machine's outcomes depend on its number and the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from statistics import fmean, quantiles

from benchmarks.selection.baselines import BASELINES
from benchmarks.selection.catalog import catalog
from benchmarks.selection.experience import Experience, changes_of
from benchmarks.selection.machines import draw_machine, jittered
from benchmarks.selection.truth import FAILURE_LOSS, Option, State, World, draw_world, options_of
from registry.model import Model, Task
from selector.hardware import Hardware

# Those with more than one model in the catalog.
TASKS = (Task.CHAT, Task.CODE, Task.REASONING, Task.MATH, Task.TOOLS, Task.TRANSCRIPTION)
CHECKPOINTS = (0, 1, 5, 20)
FLAP_REQUESTS = 100
# Long sequences take time: on every second machine, one task in turn.
FLAP_EVERY = 2
# From request to request memory moves by so much of all there is, and comes back to where it was.
JITTER_SHARE = 0.03
_RETURN_SHARE = 0.3

OURS = {
    0: "slmreg, nothing measured",
    1: "slmreg after 1 request",
    5: "slmreg after 5 requests",
    20: "slmreg after 20 requests",
}
OURS_TESTED = "slmreg after 20, 5 models tested"
KNOWING = "nothing unknown but quality"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One choice. ``failed``: the pick did not fit; ``is_missing``: nothing was chosen although something fits.

    ``is_reserved``: whatever fits would take memory that the selector always leaves to other programs.
    """

    strategy: str
    task: Task
    regret: float
    failed: bool
    is_missing: bool
    is_reserved: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one way of choosing: points of regret, and shares of choices. ``flaps``: changes in 100 requests."""

    choices: int
    mean_regret: float
    p95_regret: float
    failed_share: float
    missing_share: float
    flaps: float | None


@dataclass(frozen=True, slots=True)
class Machine:
    """What one machine of the simulation gave; ``flaps`` by strategy."""

    outcomes: tuple[Outcome, ...]
    flaps: Mapping[str, int]


def simulate(machines: int, seed: int, *, workers: int = 2) -> list[Machine]:
    """All machines, in the order of their numbers."""
    run = partial(run_machine, seed=seed)
    if workers < 2:
        return [run(number) for number in range(machines)]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(run, range(machines), chunksize=max(1, machines // (8 * workers))))


def figures(machines: Iterable[Machine]) -> dict[str, Figures]:
    """By strategy."""
    outcomes: dict[str, list[Outcome]] = {}
    flaps: dict[str, list[int]] = {}
    for machine in machines:
        for outcome in machine.outcomes:
            outcomes.setdefault(outcome.strategy, []).append(outcome)
        for strategy, count in machine.flaps.items():
            flaps.setdefault(strategy, []).append(count)
    return {strategy: _figures(found, flaps.get(strategy)) for strategy, found in outcomes.items()}


def run_machine(number: int, *, seed: int) -> Machine:
    """Every strategy for every task, and a long sequence of requests for one task."""
    models, options = _stock()
    hardware = draw_machine(number, seed)
    world = draw_world(models, options, hardware, number, seed)
    outcomes: list[Outcome] = []
    for task in TASKS:
        usable = usable_models(models, task, hardware)
        state = State(hardware)
        for name, choose in BASELINES.items():
            outcomes.append(judge(name, task, in_its_way(choose(task, usable, hardware), task, world), world, state))
        outcomes.append(judge(KNOWING, task, knowing_but_quality(task, world, state), world, state))
        outcomes += _ours(task, world, Random(f"noise {number} {task} of {seed}"))
    task = TASKS[number // FLAP_EVERY % len(TASKS)]
    flaps = {} if number % FLAP_EVERY else dict(_flaps(task, world, seed, number))
    return Machine(tuple(outcomes), flaps)


def judge(strategy: str, task: Task, pick: Option | None, world: World, state: State) -> Outcome:
    """How far ``pick`` is from the best that could have been chosen."""
    fitting = list(_true_utilities(task, world, state))
    best = max((utility for _option, utility in fitting), default=None)
    utility = None if pick is None else world.utility(task, pick, state)
    failed = pick is not None and utility is None
    is_missing = pick is None and best is not None
    loss = FAILURE_LOSS if failed or is_missing else 0.0
    regret = loss if utility is None or best is None else best - utility
    within = any(world.need_bytes(option) <= state.room_bytes(option.model) for option, _utility in fitting)
    return Outcome(strategy, task, regret, failed, is_missing, is_reserved=bool(fitting) and not within)


def knowing_but_quality(task: Task, world: World, state: State) -> Option | None:
    """What slmreg could be at best: speed and memory without an error, the same expectations of quality.

    It leaves to other programs what slmreg leaves to them.
    """

    def expected(option: Option, utility: float) -> float:
        quality = option.quality
        points = quality.general_points + quality.speciality_points + quality.quantisation_points
        return utility - world.quality_points(task, option) + points

    within = (
        (option, utility)
        for option, utility in _true_utilities(task, world, state)
        if world.need_bytes(option) <= state.room_bytes(option.model)
    )
    return max(within, key=lambda found: expected(*found), default=(None, 0.0))[0]


def usable_models(models: Sequence[Model], task: Task, hardware: Hardware) -> list[Model]:
    """Those that can do the task and whose execution provider is installed."""
    return [m for m in models if task in m.tasks and m.execution_provider in hardware.execution_providers]


def in_its_way(model: Model | None, task: Task, world: World) -> Option | None:
    """What another program's choice comes to: the model, answering in the way that it does when nobody says."""
    ways = [option for option in world.options[task] if model is not None and option.model.id == model.id]
    return max(ways, key=lambda option: option.thinking is True, default=None)


def _true_utilities(task: Task, world: World, state: State) -> Iterator[tuple[Option, float]]:
    for option in world.options[task]:
        if option.model.execution_provider in state.hardware.execution_providers:
            utility = world.utility(task, option, state)
            if utility is not None:
                yield option, utility


def _ours(task: Task, world: World, dice: Random) -> Iterator[Outcome]:
    experience = Experience(task, world, dice)
    for answered in range(CHECKPOINTS[-1] + 1):
        if answered in CHECKPOINTS:
            yield judge(OURS[answered], task, experience.choose(), world, experience.state)
        if answered < CHECKPOINTS[-1]:
            experience.answer()
    experience.test()
    yield judge(OURS_TESTED, task, experience.choose(), world, experience.state)


def _flaps(task: Task, world: World, seed: int, number: int) -> Iterator[tuple[str, int]]:
    """Changes of the chosen model while free memory moves, for every strategy the same way."""
    free = _walk(world.hardware, Random(f"memory {number} of {seed}"))
    experience = Experience(task, world, Random(f"flaps {number} of {seed}"))
    chosen = []
    for available_bytes in free:
        experience.settle(jittered(world.hardware, available_bytes), experience.state.loaded)
        option = experience.answer()
        chosen.append(option.model.id if option else None)
    yield OURS[CHECKPOINTS[-1]], changes_of(chosen)
    usable = usable_models(world.models, task, world.hardware)
    for name, choose in BASELINES.items():
        picks = (choose(task, usable, jittered(world.hardware, available_bytes)) for available_bytes in free)
        yield name, changes_of(None if pick is None else pick.id for pick in picks)


def _walk(hardware: Hardware, dice: Random) -> list[int]:
    memory = hardware.memory
    ceiling, start = memory.limit_bytes or memory.total_bytes, memory.available_bytes
    free, now = [], float(start)
    for _ in range(FLAP_REQUESTS):
        now += _RETURN_SHARE * (start - now) + dice.gauss(0, JITTER_SHARE * ceiling)
        free.append(int(min(max(now, 0), ceiling)))
    return free


def _figures(outcomes: Sequence[Outcome], flaps: Sequence[int] | None) -> Figures:
    regrets = sorted(outcome.regret for outcome in outcomes)
    return Figures(
        choices=len(regrets),
        mean_regret=fmean(regrets),
        p95_regret=quantiles(regrets, n=20, method="inclusive")[-1] if len(regrets) > 1 else regrets[0],
        failed_share=fmean(outcome.failed for outcome in outcomes),
        missing_share=fmean(outcome.is_missing for outcome in outcomes),
        flaps=None if flaps is None else fmean(flaps),
    )


@cache
def _stock() -> tuple[tuple[Model, ...], Mapping[Task, tuple[Option, ...]]]:
    """The catalog and what it can do, which is the same on every machine."""
    models = catalog()
    return models, {task: options_of(models, task) for task in TASKS}
