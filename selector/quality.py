"""How well a model can be expected to do a task, in points from 0 to 100, before anyone has tried it here.

    q = 100 x logistic(ability)

A model with published scores has an ability of its own for each task and mode, shrunk towards its family and size. Any
other is expected where its size, its family and its speciality put it, with a spread that grows with what is not known.
The numbers are fitted offline (``selector.quality_table``).

Invariant: what is not known never raises an estimate less half its spread, which is what a choice counts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from registry.model import Model, Precision, Task
from selector.footprint import parameter_bounds
from selector.model_names import Relation, can_be, index_names, relate
from selector.quality_table import Ability, Estimate, KnownModel, TaskPrior, load_table

TABLE = load_table()
_NAMES = index_names(TABLE.models)

# More when the number of parameters is an estimate (judged).
ESTIMATED_SIZE_SPREAD = 0.2
# Exports count the embedding twice where the publisher counts it once (0.5 B: 1.3 times), and round.
SIZE_TOLERANCE = (0.65, 1.55)
# Models that think write 5-10 times more tokens before they answer.
THINKING_VERBOSITY = 6.0
FINE_BLOCK = 32

# By a word of the name, what a model was trained for; "thinking" models are like others of their family that think.
SPECIALITIES = {
    "reasoning": re.compile(r"(?<!non-)\b(r1|qwq|reason\w*|openthinker\d*)\b"),
    "thinking": re.compile(r"(?<!no-)(?<!non-)\bthink\w*\b"),
    "coding": re.compile(r"\b(code(?!c)\w*|coding|starcoder\d*)\b"),
    "math": re.compile(r"\b(math\w*)\b"),
    "base": re.compile(r"(?<!whisper-)\bbase\b"),
}


@dataclass(frozen=True, slots=True)
class Quality:
    """``general_points``, what its speciality or thinking adds, and what quantisation costs (<= 0): their sum is q.

    ``evaluated_points`` is how far tests and ratings on this machine move that.

    ``spread_points`` is one standard deviation, ``source`` the evidence in words, ``speciality`` why there are
    ``speciality_points``.
    """

    general_points: float
    speciality_points: float
    quantisation_points: float
    spread_points: float
    source: str
    speciality: str | None = None
    thinks: bool = False
    evaluated_points: float = 0.0

    @property
    def verbosity(self) -> float:
        """By how much answers are longer than those of a model that answers at once."""
        return THINKING_VERBOSITY if self.thinks else 1.0


class _Facts(NamedTuple):
    """All of a model that an estimate depends on. Bounds of the number of parameters: the same twice if it is known."""

    name: str
    alias: str
    architecture: str
    can_reason: bool
    fewest_parameters: float
    most_parameters: float
    is_size_known: bool
    active_parameters: int | None
    precision: Precision
    block_size: int | None

    @classmethod
    def of(cls, model: Model) -> _Facts:
        return cls(
            model.name,
            model.alias,
            model.family,
            model.can_reason,
            *parameter_bounds(model),
            bool(model.parameters),
            model.active_parameters,
            model.precision,
            model.block_size,
        )


@dataclass(frozen=True, slots=True)
class _Expectation:
    estimate: Estimate
    source: str


def estimate_quality(model: Model, task: Task, *, thinks: bool | None = None) -> Quality:
    """The expectation for ``task``. An unknown number of parameters is counted at the fewest its weights allow.

    ``thinks`` is for a model that can do both: whether it is to reason before it answers. None is what it does when
    nobody says, which is to think.
    """
    return _estimate(_Facts.of(model), task, thinks)


def ways_of(model: Model, task: Task) -> tuple[bool, ...]:
    """In which ways a model can answer: without reasoning first (False), and with it."""
    if model.has_thinking_switch and not estimate_quality(model, task, thinks=False).thinks:
        return (False, True)
    return (estimate_quality(model, task).thinks,)


# A pure function of plain values. For the names of 1,000 models it takes 40 ms and more, a choice is to take 5.
@lru_cache(maxsize=16_384)
def _estimate(facts: _Facts, task: Task, thinks: bool | None) -> Quality:
    relation, speciality = _relation(facts), _speciality(facts)
    named = _named(facts, relation)
    is_thinking = _is_thinking(facts, named, speciality, thinks)
    shift = _shift(TABLE.tasks[task], speciality, is_thinking=is_thinking)
    expected = _expectation(facts, task, relation, named, shift, is_thinking=is_thinking)
    ability, spread = expected.estimate.mean, expected.estimate.spread
    share, general = _logistic(ability), _logistic(ability - shift.mean)
    return Quality(
        general_points=100 * general,
        speciality_points=100 * (share - general),
        quantisation_points=-_quantisation_loss(facts, task),
        spread_points=100 * share * (1 - share) * spread,
        source=expected.source,
        speciality=_speciality_text(speciality, is_thinking=is_thinking),
        thinks=is_thinking,
    )


def _relation(facts: _Facts) -> Relation:
    """The name says most; the alias counts where the name says nothing."""
    relations = (relate(text, _NAMES) for text in (facts.name, facts.alias))
    return next((relation for relation in relations if relation.listed or relation.family), Relation())


def _speciality(facts: _Facts) -> str | None:
    text = f"{facts.name} {facts.alias}".lower().replace("_", "-")
    return next((what for what, words in SPECIALITIES.items() if words.search(text)), None)


def _named(facts: _Facts, relation: Relation) -> KnownModel | None:
    """The published model of that name, if the architecture does not contradict it."""
    named = TABLE.models[relation.listed] if relation.listed else None
    return named if named and can_be(named.family, facts.architecture) else None


def _has_size_of(facts: _Facts, named: KnownModel) -> bool:
    fewest, most = facts.fewest_parameters / 1e9, facts.most_parameters / 1e9
    return fewest / SIZE_TOLERANCE[1] <= named.billions <= most / SIZE_TOLERANCE[0]


def _is_thinking(facts: _Facts, named: KnownModel | None, speciality: str | None, thinks: bool | None) -> bool:
    if speciality in ("reasoning", "thinking"):
        return True
    can_think = bool(named.thinking) if named else facts.can_reason
    must_think = named is not None and not named.plain
    return can_think and (must_think or thinks is not False)


def _shift(prior: TaskPrior, speciality: str | None, *, is_thinking: bool) -> Estimate:
    names = {"thinking" if is_thinking else None, speciality}
    shifts = [prior.shifts[name] for name in sorted(filter(None, names)) if name in prior.shifts]
    return Estimate(sum(s.mean for s in shifts), math.hypot(*(s.spread for s in shifts)))


def _expectation(
    facts: _Facts, task: Task, relation: Relation, named: KnownModel | None, shift: Estimate, *, is_thinking: bool
) -> _Expectation:
    """By the model's own scores, else by family and size; by the worse of the two where its size is not known."""
    by_size = _by_size(facts, task, relation, shift)
    own = _own(named, task, is_thinking=is_thinking) if named and _has_size_of(facts, named) else None
    if facts.is_size_known:
        return own or by_size
    mean, spread = by_size.estimate.mean, by_size.estimate.spread
    if own is not None:
        mean, spread = min(mean, own.estimate.mean), max(spread, own.estimate.spread)
    return _Expectation(Estimate(mean, spread + ESTIMATED_SIZE_SPREAD), by_size.source)


def _own(named: KnownModel, task: Task, *, is_thinking: bool) -> _Expectation | None:
    ability: Ability | None = (named.thinking if is_thinking else named.plain).get(task)
    if ability is None:
        return None
    scores = "1 published score" if ability.scores == 1 else f"{ability.scores} published scores"
    return _Expectation(ability.estimate, f"{scores} of {named.name}{', thinking' if is_thinking else ''}")


def _by_size(facts: _Facts, task: Task, relation: Relation, shift: Estimate) -> _Expectation:
    prior, billions = TABLE.tasks[task], _billions(facts)
    size = math.log2(billions)
    effect = None
    if relation.family and can_be(relation.family, facts.architecture):
        effect = TABLE.families[relation.family].get(task)
    spread = prior.unknown_spread
    if effect and relation.is_kin:
        spread = math.hypot(effect.spread, prior.model_spread)
    source = f"prior for {billions:.2g} B parameters" + ("" if facts.is_size_known else ", estimated from the weights")
    return _Expectation(
        Estimate(
            prior.at_1b + prior.per_doubling * size + (effect.mean if effect else 0.0) + shift.mean,
            math.hypot(spread, prior.slope_spread * (size - prior.centre), shift.spread),
        ),
        f"{relation.family} {source}" if effect else source,
    )


def _billions(facts: _Facts) -> float:
    """Billions of parameters; of a mixture of experts the geometric mean of all and of the active ones."""
    parameters = max(1e6, facts.fewest_parameters)
    active = min(parameters, max(1e6, facts.active_parameters or parameters))
    return math.sqrt(parameters * active) / 1e9


def _quantisation_loss(facts: _Facts, task: Task) -> float:
    """Points; weights of unknown type count as int4, and blocks of unknown size as wide."""
    loss = TABLE.quantisation
    if facts.precision is Precision.INT8:
        return loss.int8
    if facts.precision not in (Precision.INT4, Precision.UNKNOWN):
        return 0.0
    block = 1.0 if facts.block_size and facts.block_size <= FINE_BLOCK else loss.wide_block
    billions = max(1.0, facts.fewest_parameters / 1e9)
    return loss.at_1b * block * float(billions**-loss.exponent) + (loss.tools if task is Task.TOOLS else 0.0)


def _speciality_text(speciality: str | None, *, is_thinking: bool) -> str | None:
    if speciality is not None:
        return f"{'base model' if speciality == 'base' else speciality}, by its name"
    return "thinks before it answers" if is_thinking else None


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
