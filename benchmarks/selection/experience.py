"""The daemon's part in the simulation: it chooses, answers, and folds in what it saw, with the daemon's own learner.

Invariant: it learns of the truth only what a daemon can measure: loads and answers, with noise, and failures.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from random import Random

from benchmarks.selection.truth import BETWEEN_REQUESTS_S, Loaded, Option, State, World
from daemon.learner import Answered, Learner
from daemon.pool.observer import Loaded as LoadSeen
from registry.experience import Evaluation, EvaluationKind
from registry.model import Device, Model, Task
from selector.hardware import Hardware
from selector.select import Field
from selector.selection import Circumstances, LastSwap, Selection, SelectionRequest
from selector.utility import PROFILES

# One measurement of a speed or of memory differs from the next by so much.
NOISE = 0.10
TEST_ITEMS = 12
# A person tries the models that look best.
TESTED_MODELS = 5


class Experience:
    """One task on one machine, request after request."""

    def __init__(self, task: Task, world: World, dice: Random) -> None:
        logging.getLogger("slmreg.learner").setLevel(logging.ERROR)  # that a pick did not fit is counted here
        self.state = State(world.hardware)
        self._request = SelectionRequest(task)
        self._options = {option.key: option for option in world.options[task]}
        self._models = _that_could_be(task, world)
        self._world = world
        self._dice = dice
        self._now_s = 0.0
        self._learner = Learner(lambda _measured: None, (), clock=lambda: self._now_s, now=lambda: self._now_s)
        self._evaluations: tuple[Evaluation, ...] = ()
        self._swap: tuple[str, float] | None = None
        self._last: str | None = None
        self._field: Field | None = None

    def choose(self) -> Option | None:
        """What slmreg would take now; asking changes nothing."""
        pick = self._select().pick
        return None if pick is None else self._options[pick.model_id, pick.thinking]

    def answer(self) -> Option | None:
        """The next request: choose, load if need be, answer, learn. Returns what was chosen."""
        option = self.choose()
        self._now_s += BETWEEN_REQUESTS_S
        if option is None:
            return None
        if option.model.id != self._last:
            self._swap = None if self._last is None else (option.model.id, self._now_s)
            self._last = option.model.id
        if not self._world.fits(option, self.state):
            self._learner.ran_out_of_memory(option.model, option.need.total_bytes)
            self.settle(self._empty(), None)
        else:
            if not self.state.is_loaded(option.model):
                self._load(option)
            self._measure(option)
        return option

    def settle(self, empty: Hardware, loaded: Loaded | None) -> None:
        """From now on the machine is this one (without ``loaded``), with ``loaded`` on it."""
        self.state = State.after_load(empty, loaded)

    def test(self) -> None:
        """A person tests the models that rank first, a dozen items each."""
        field, now = self._here()
        ranking = field.ledger(self._request, now, is_deep=False).ranking
        tested = list(dict.fromkeys(candidate.model_id for candidate in ranking))[:TESTED_MODELS]
        self._evaluations = tuple(self._tested(option) for key, option in self._options.items() if key[0] in tested)

    def _select(self) -> Selection:
        field, now = self._here()
        return field.select(self._request, now)

    def _here(self) -> tuple[Field, Circumstances]:
        """As the daemon does: what was appraised is kept until something noticeable was learned."""
        now = Circumstances(
            hardware=self.state.hardware,
            sessions=self.state.sessions,
            measurements=self._learner.measurements(),
            evaluations=self._evaluations,
            setbacks=self._learner.setbacks(),
            last_swap=None if self._swap is None else LastSwap(self._swap[0], self._now_s - self._swap[1]),
            threads=self.state.hardware.cpu.usable_cores,
        )
        if self._field is None or not self._field.holds_for(self._models, now):
            self._field = Field(self._models, now)
        return self._field, now

    def _empty(self) -> Hardware:
        """The machine as it would be without what is loaded."""
        hardware, loaded = self.state.hardware, self.state.loaded
        if loaded is None:
            return hardware
        memory = replace(hardware.memory, available_bytes=hardware.memory.available_bytes + loaded.resident_bytes)
        return replace(hardware, memory=memory, accelerators=self._world.hardware.accelerators)

    def _load(self, option: Option) -> None:
        loaded = self._world.load(option)
        self.settle(self._empty(), loaded)
        self._learner.loaded(
            LoadSeen(
                model=option.model,
                threads=self.state.hardware.cpu.usable_cores,
                context_tokens=option.need.context_tokens,
                load_s=self._noisy(self._world.speeds[option.model.id].load_s),
                resident_bytes=int(self._noisy(loaded.resident_bytes)),
                peak_bytes=None,
            )
        )

    def _measure(self, option: Option) -> None:
        speed, profile = self._world.speeds[option.model.id], PROFILES[self._request.task]
        tokens = max(1, round(profile.completion_tokens * option.quality.verbosity))
        self._learner.answered(
            Answered(
                model=option.model,
                threads=self.state.hardware.cpu.usable_cores,
                prompt_tokens=profile.prompt_tokens,
                completion_tokens=tokens,
                ttft_s=self._noisy(speed.ttft_s(profile.prompt_tokens)),
                decode_s=self._noisy((tokens - 1) / speed.tokens_per_second),
                is_alone=True,
            )
        )

    def _tested(self, option: Option) -> Evaluation:
        share = min(1.0, max(0.0, self._world.quality_points(self._request.task, option) / 100))
        passed = sum(self._dice.random() < share for _ in range(TEST_ITEMS))
        return Evaluation(
            model_id=option.model.id,
            content=option.model.content,
            task=self._request.task,
            kind=EvaluationKind.TEST,
            score=passed / TEST_ITEMS,
            items=TEST_ITEMS,
            evaluated_s=self._now_s,
            is_thinking=option.quality.thinks,
        )

    def _noisy(self, value: float) -> float:
        return value * math.exp(self._dice.gauss(0, NOISE))


def _that_could_be(task: Task, world: World) -> tuple[Model, ...]:
    """Without models that this machine could never run, which changes no choice and saves half of the time."""
    hardware = world.hardware
    on_cards = max((card.memory_total_bytes or 0 for card in hardware.accelerators), default=0)
    largest = dict.fromkeys(Device, on_cards) | {Device.CPU: hardware.memory.total_bytes}
    could_be = {
        option.model.id: option.model
        for option in world.options[task]
        if option.model.execution_provider in hardware.execution_providers
        and option.need.total_bytes <= largest[option.model.device]
    }
    return tuple(could_be.values())


def changes_of(chosen: Iterable[str | None]) -> int:
    """How often another model was chosen than for the request before."""
    return sum(before != after for before, after in pairwise(chosen))
