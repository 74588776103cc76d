"""Both backends on the same folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og

from daemon.worker.backends.batched.arena import Arena
from daemon.worker.backends.batched.backend import BatchedBackend
from daemon.worker.backends.batched.calls import Calls
from daemon.worker.backends.batched.capability import BatchedDecoder, batched_decoder
from daemon.worker.backends.batched.memory import Memory, reserved
from daemon.worker.backends.batched.session import open_session
from daemon.worker.backends.generator import GeneratorBackend, engine_config
from daemon.worker.folder import read_config
from registry.model import ExecutionProvider

CONTEXT_TOKENS = 512
SLOTS = 8


def described(folder: Path) -> BatchedDecoder:
    return batched_decoder(folder, read_config(folder), ExecutionProvider.CPU, has_adapters=False)


def generator(folder: Path, *, least_room_tokens: int = 0) -> GeneratorBackend:
    model = og.Model(engine_config(folder, read_config(folder), ExecutionProvider.CPU, threads=1))
    return GeneratorBackend(model, least_room_tokens=least_room_tokens)


class CallsWithoutMemory(Calls):
    """Fails where a token comes that costs too much."""

    costly_token: int | None = None

    def step(self, start: int, tokens: Sequence[int], lengths: Sequence[int]) -> Any:
        self._pay(tokens)
        return super().step(start, tokens, lengths)

    def read(self, slot: int, tokens: Sequence[int], length: int, *, wants_all: bool = False) -> Any:
        self._pay(tokens)
        return super().read(slot, tokens, length, wants_all=wants_all)

    def _pay(self, tokens: Sequence[int]) -> None:
        if self.costly_token in tokens:
            raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory")


class Batched(BatchedBackend):
    """With a look inside. What lies beyond the tokens of a row, and in slots without one, can be made unusable."""

    def __init__(
        self,
        folder: Path,
        *,
        slots: int = SLOTS,
        decoder: BatchedDecoder | None = None,
        reserve: Callable[[int], Memory] = reserved,
    ) -> None:
        decoder = decoder or described(folder)
        session = open_session(decoder, {}, threads=1, is_spinning=False, library=None)
        self.arena = Arena(decoder.caches, slots=slots, length=CONTEXT_TOKENS, reserve=reserve)
        self.calls = calls = CallsWithoutMemory(session, decoder, self.arena, context_tokens=CONTEXT_TOKENS)
        super().__init__(calls, self.arena, context_tokens=CONTEXT_TOKENS, can_verify=decoder.has_all_positions)

    def poison(self) -> None:
        """Whoever reads what is no row's gets no numbers."""
        lengths = {row.slot: row.length for row in self._rows.values()}
        for buffer in self.arena.buffers:
            for slot in range(self.arena.slots):
                buffer[slot, :, lengths.get(slot, 0) :] = np.nan
