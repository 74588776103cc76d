"""What the registry knows at one moment, in memory: never changed, but followed by another one at little cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from registry.experience import Evaluation
from registry.index.models import Models, below
from registry.index.pins import StoredPin, meant_now
from registry.index.stored import StoredEvaluation
from registry.model import ApiKey, FolderProblem, Hint, Pin, Preset, RootChoice


@dataclass(frozen=True)
class State:
    """Everything in the database, but for the digests of full checks and what was measured.

    ``problems`` are by folder. ``libraries`` are those that may be loaded, by SHA-256, with the model they are for.
    ``stored_evaluations`` and ``keys`` are in the order in which they were made, ``presets`` by name.
    """

    models: Models = field(default_factory=Models)
    problems: Mapping[str, FolderProblem] = field(default_factory=dict)
    stored_pins: tuple[StoredPin, ...] = ()
    roots: tuple[RootChoice, ...] = ()
    hints: tuple[Hint, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    stored_evaluations: tuple[StoredEvaluation, ...] = ()
    keys: tuple[ApiKey, ...] = ()
    presets: tuple[Preset, ...] = ()

    @cached_property
    def pinned_keys(self) -> frozenset[int]:
        """The rows that a pin names. What a pattern means at the moment is not among them: nothing protects it."""
        return frozenset(pin.model_key for pin in self.stored_pins if pin.model_key is not None)

    @cached_property
    def kept_keys(self) -> frozenset[int]:
        """The rows that what a person said hangs on, beside full checks."""
        return self.pinned_keys | {each.model_key for each in self.stored_evaluations}

    @cached_property
    def pins(self) -> tuple[Pin, ...]:
        """By task; what a pattern means is found here, once for each state."""
        return tuple(meant_now(self.models, each) for each in sorted(self.stored_pins, key=lambda each: each.task))

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Those that hold for what the models are now, under their present ids."""
        return tuple(self._holding())

    def problems_below(self, folder: Path) -> Sequence[str]:
        """The folders with a problem that are ``folder`` or lie in it."""
        return below(self._problem_places, folder)

    @cached_property
    def _problem_places(self) -> list[str]:
        return sorted(self.problems)

    def _holding(self) -> Iterator[Evaluation]:
        for each in self.stored_evaluations:
            model = self.models.rows[each.model_key].model
            if model.content == each.said.content:
                yield replace(each.said, model_id=model.id)
