"""What a machine's models are really like: hidden from whoever chooses, drawn around what the selector expects.

    quality   logit-normal around the estimate, with its own spread, the same for all variants of one model in one way
    speed     a factor of the machine and one of the model; together the roofline's band holds nine of ten
    memory    the formula times a factor; 95% within a tenth of it, as measured

Invariant: a world depends on the machine's number and the seed alone, whatever is asked of it and in which order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from registry.model import Device, Model, Task
from selector.appraisal import ways
from selector.budget import accelerator_bytes, available_bytes
from selector.filters import least_context
from selector.footprint import Footprint, footprint
from selector.hardware import Hardware
from selector.policy import Policy
from selector.quality import Quality, estimate_quality
from selector.selection import SelectionRequest, SessionFacts
from selector.speed import ROOFLINE_BAND, Speed, predict_speed
from selector.utility import LOAD_SHARE, answer_s, latency_loss, memory_loss

# A request that fails for lack of memory, and one that nobody answers although somebody could, cost this many points
# against the best choice.
FAILURE_LOSS = 40.0

_NINE_OF_TEN = 1.645
SPEED_MIDDLE = math.log(ROOFLINE_BAND[0] * ROOFLINE_BAND[1]) / 2
SPEED_SPREAD = math.log(ROOFLINE_BAND[1] / ROOFLINE_BAND[0]) / 2 / _NINE_OF_TEN
# The greater part is the machine's: its memory, its other programs, its cooling (judged).
MACHINE_SPREAD = 0.8 * SPEED_SPREAD
MODEL_SPREAD = 0.6 * SPEED_SPREAD
LOAD_SPREAD = 0.3  # judged: disks differ more than that, but most of a load is packing weights
MEMORY_SPREAD = math.log(1.1) / 1.96
# RAM of a process whose model is in a GPU's memory (judged: CUDA's context and libraries).
GPU_PROCESS_BYTES = 500 * 1024 * 1024
# A person who reads an answer before the next question.
BETWEEN_REQUESTS_S = 15.0
# What quantisation costs is itself only known to within a third or so (judged).
QUANTISATION_SPREAD = 0.3


@dataclass(frozen=True, slots=True)
class Option:
    """A model in one of its ways of answering one task, and what the selector expects of it on any machine."""

    model: Model
    thinking: bool | None
    quality: Quality
    need: Footprint

    @property
    def key(self) -> tuple[str, bool | None]:
        return (self.model.id, self.thinking)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is loaded and idle. ``resident_bytes`` is its process, ``device_bytes`` what it holds of its device.

    On a CPU both are the same.
    """

    model: Model
    resident_bytes: int
    device_bytes: int

    @property
    def facts(self) -> SessionFacts:
        return SessionFacts(self.model.id, self.resident_bytes, is_reclaimable=True, idle_s=BETWEEN_REQUESTS_S)


@dataclass(frozen=True, slots=True)
class State:
    """The moment that a choice is judged in: the machine with what is loaded on it, if anything is."""

    hardware: Hardware
    loaded: Loaded | None = None

    @classmethod
    def after_load(cls, empty: Hardware, loaded: Loaded | None) -> State:
        """``empty`` is the machine as it was before."""
        if loaded is None:
            return cls(empty)
        memory = replace(empty.memory, available_bytes=max(0, empty.memory.available_bytes - loaded.resident_bytes))
        cards = empty.accelerators
        if loaded.model.device is not Device.CPU:
            cards = tuple(
                replace(card, memory_available_bytes=max(0, (card.memory_available_bytes or 0) - loaded.device_bytes))
                for card in cards
            )
        return cls(replace(empty, memory=memory, accelerators=cards), loaded)

    @property
    def sessions(self) -> tuple[SessionFacts, ...]:
        return () if self.loaded is None else (self.loaded.facts,)

    def is_loaded(self, model: Model) -> bool:
        return self.loaded is not None and self.loaded.model.id == model.id

    def room_bytes(self, model: Model) -> int:
        """Bytes that ``model`` may use without taking what is left to others; what is idle gives its memory back."""
        on_device = accelerator_bytes(self.hardware, model)
        if on_device is None:
            return available_bytes(self.hardware, self.sessions)
        return on_device + (self.loaded.device_bytes if self.loaded and self.loaded.model.device is model.device else 0)

    def free_bytes(self, model: Model) -> int:
        """Bytes that are really there for it, to the last one."""
        held = self.loaded.device_bytes if self.loaded and self.loaded.model.device is model.device else 0
        if model.device is Device.CPU:
            return self.hardware.memory.available_bytes + held
        return held + max((card.memory_available_bytes or 0 for card in self.hardware.accelerators), default=0)


@dataclass(frozen=True, slots=True)
class World:
    """One machine and the truth about every model on it. Speeds and memory are by model id, quality by task and key."""

    models: tuple[Model, ...]
    options: Mapping[Task, tuple[Option, ...]]
    hardware: Hardware
    speeds: Mapping[str, Speed]
    memory_factors: Mapping[str, float]
    qualities: Mapping[Task, Mapping[tuple[str, bool | None], Quality]]

    def need_bytes(self, option: Option) -> int:
        return int(self.memory_factors[option.model.id] * option.need.total_bytes)

    def load(self, option: Option) -> Loaded:
        """``option`` at work. Its process at rest holds what it needs, less what grows with prompts."""
        model = option.model
        if model.device is not Device.CPU:
            return Loaded(model, GPU_PROCESS_BYTES, self.need_bytes(option))
        prompts = footprint(model, 0, loaded_bytes=1).fixed_bytes
        at_rest = int(self.memory_factors[model.id] * (footprint(model, 0).total_bytes - prompts))
        return Loaded(model, at_rest, at_rest)

    def quality_points(self, task: Task, option: Option) -> float:
        truth = self.qualities[task][option.key]
        return truth.general_points + truth.quantisation_points

    def fits(self, option: Option, state: State) -> bool:
        return state.is_loaded(option.model) or self.need_bytes(option) <= state.free_bytes(option.model)

    def utility(self, task: Task, option: Option, state: State) -> float | None:
        """By the selector's own formula on true values; None for one that does not fit."""
        if not self.fits(option, state):
            return None
        is_loaded = state.is_loaded(option.model)
        speed = self.speeds[option.model.id]
        seconds = answer_s(task, option.quality, speed, is_loaded=True) + (
            0 if is_loaded else LOAD_SHARE * speed.load_s
        )
        need, room = self.need_bytes(option), state.room_bytes(option.model)
        if is_loaded:
            room = max(room, need)  # it has its memory already
        waiting = latency_loss(task, Policy.BALANCED, seconds)
        return self.quality_points(task, option) - waiting - memory_loss(need, room)


def options_of(models: Sequence[Model], task: Task) -> tuple[Option, ...]:
    """Every way in which one of ``models`` can do ``task``."""
    request = SelectionRequest(task)
    return tuple(
        Option(
            model,
            way,
            estimate_quality(model, task, thinks=way),
            footprint(model, least_context(request, model)),
        )
        for model in models
        if task in model.tasks
        for way in ways(model, request)
    )


def draw_world(
    models: tuple[Model, ...],
    options: Mapping[Task, tuple[Option, ...]],
    hardware: Hardware,
    number: int,
    seed: int,
) -> World:
    """The truth about machine ``number``; ``options`` are those of ``models`` for each task to be asked about."""
    dice = Random(f"truth {number} of {seed}")
    machine = {device: dice.gauss(0, MACHINE_SPREAD) for device in Device}
    speeds = {model.id: _true_speed(model, hardware, machine[model.device], dice) for model in models}
    factors = {model.id: math.exp(dice.gauss(0, MEMORY_SPREAD)) for model in models}
    qualities = {task: _true_qualities(found, dice) for task, found in options.items()}
    return World(models, options, hardware, speeds, factors, qualities)


def _true_speed(model: Model, hardware: Hardware, machine: float, dice: Random) -> Speed:
    predicted = predict_speed(model, hardware)
    decode, prefill, load = (dice.gauss(0, spread) for spread in (MODEL_SPREAD, MODEL_SPREAD, LOAD_SPREAD))
    return replace(
        predicted,
        tokens_per_second=predicted.tokens_per_second * math.exp(SPEED_MIDDLE + machine + decode),
        prompt_tokens_per_second=predicted.prompt_tokens_per_second * math.exp(SPEED_MIDDLE + machine + prefill),
        load_s=predicted.load_s * math.exp(load),
    )


def _true_qualities(options: Sequence[Option], dice: Random) -> dict[tuple[str, bool | None], Quality]:
    """One deviation for each model and way, whatever its precision and device are."""
    deviations: dict[tuple[str, bool], float] = {}
    truths = {}
    for option in options:
        quality = option.quality
        same = (option.model.alias, quality.thinks)
        deviation = deviations.setdefault(same, dice.gauss(0, 1))
        expected = (quality.general_points + quality.speciality_points) / 100
        spread = quality.spread_points / 100 / (expected * (1 - expected))
        share = 1 / (1 + math.exp(-(math.log(expected / (1 - expected)) + spread * deviation)))
        truths[option.key] = replace(
            quality,
            general_points=100 * share,
            speciality_points=0.0,
            quantisation_points=quality.quantisation_points * math.exp(dice.gauss(0, QUANTISATION_SPREAD)),
        )
    return truths
