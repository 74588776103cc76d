"""``Proofs``: which models the batched engine was found to run as the generator does, remembered between runs.

A comparison costs a second load of the model. It holds for the same files and the same versions of all that computes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from daemon import __version__
from daemon.pool.observer import FailedLoad, Loaded
from daemon.pool.session import Leaving
from daemon.versions import GENAI_PACKAGES, installed_version
from registry.experience import EngineProof
from registry.model import Model

log = logging.getLogger("slmreg.proofs")

# What computes, under the names that its packages for different devices have.
_PACKAGES = (*GENAI_PACKAGES, "onnxruntime")


def installed_runtime() -> str:
    """The versions that a proof holds for. slmreg's is among them: the engine is its own."""
    versions = ((package, installed_version(package)) for package in _PACKAGES)
    return ", ".join([f"slmreg {__version__}", *(f"{package} {version}" for package, version in versions if version)])


class Proofs:
    """Told by the pool (it is a ``daemon.pool.observer.Observer``); safe to ask from any thread."""

    def __init__(
        self,
        record: Callable[[EngineProof], None],
        known: Iterable[EngineProof],
        *,
        runtime: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``record`` writes down, ``known`` was written down before; ``now`` is Unix time."""
        self._record = record
        self._runtime = runtime
        self._now = now
        self._found = {proof.content: proof.is_proven for proof in known if proof.runtime == runtime}
        self._writes: set[asyncio.Task[None]] = set()

    def find(self, model: Model) -> bool | None:
        """What was found of what is in the folder now; None if nothing."""
        return self._found.get(model.content) if model.content else None

    def loaded(self, load: Loaded) -> None:
        model = load.model
        if load.is_proven is None or not model.content or self.find(model) is load.is_proven:
            return
        self._found[model.content] = load.is_proven
        proof = EngineProof(
            model_id=model.id,
            content=model.content,
            runtime=self._runtime,
            is_proven=load.is_proven,
            proven_s=self._now(),
        )
        task = asyncio.create_task(self._write(proof), name=f"proof-{model.id}")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def failed(self, failure: FailedLoad) -> None:
        """Says nothing about the engines."""

    def unloaded(self, model: Model, reason: Leaving, why: str) -> None:
        """Says nothing about the engines."""

    def ran_out_of_memory(self, model: Model, need_bytes: int) -> None:
        """Says nothing about the engines."""

    async def written(self) -> None:
        """Return when all that was found is written down."""
        await asyncio.gather(*self._writes)

    async def _write(self, proof: EngineProof) -> None:
        try:
            await asyncio.to_thread(self._record, proof)
        except Exception as error:  # whatever it is, it costs a comparison at the next start
            log.exception("proof.not_written model=%s error=%s", proof.model_id, error)
