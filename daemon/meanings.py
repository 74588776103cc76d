"""Which model a name meant when it was looked up last, so that saying "not now" takes no look into the registry."""

from __future__ import annotations

from daemon.resolving import Resolved
from registry.model import Model


class Meanings:
    """Belongs to the event loop. Holds at most an id and a name of each model, whatever clients ask for."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def find(self, reference: str) -> Model | None:
        """None for what was not looked up since the models changed, or does not mean the same model each time."""
        return self._models.get(_key(reference))

    def note(self, reference: str, resolved: Resolved) -> None:
        """Only ids and names are kept: an alias is a choice, a preset may be written anew."""
        model = resolved.model
        is_direct = resolved.selection is None and resolved.preset is None
        if is_direct and _key(reference) in (_key(model.id), _key(model.name)):
            self._models |= dict.fromkeys((_key(model.id), _key(reference)), model)

    def snapshot(self) -> Meanings:
        """These meanings, for what is noted after a wait: once they are forgotten, it is noted nowhere."""
        now = Meanings()
        now._models = self._models
        return now

    def forget(self) -> None:
        """The models have changed."""
        self._models = {}


def _key(reference: str) -> str:
    return reference.strip().casefold()
