"""One call of the decoder for a window of rows: what is bound to it, and what comes out.

Past and present are the same memory, so a call adds its tokens to the rows in place. What a call for one token of each
row needs is bound once for each window, and only the numbers in it change from call to call: binding the caches of 24
layers takes 0.4 ms.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from daemon.worker.backends.batched.arena import Arena
from daemon.worker.backends.batched.capability import BatchedDecoder
from daemon.worker.backends.batched.head import POSITIONS

Numbers = npt.NDArray[Any]


class _Bound(NamedTuple):
    """``values`` are what is bound: onnxruntime keeps the addresses only."""

    binding: onnxruntime.IOBinding
    values: tuple[onnxruntime.OrtValue, ...]


# The attention mask grows in such steps, so that what is bound lasts.
_MASK_STEP_TOKENS = 256
_MOST_BOUND = 32
# Logits of this many last positions are computed where one is wanted. One alone goes through other kernels, whose
# logits differ from those that a whole prompt gives (int4 on the CPU; two or more agree in every bit).
_LAST_POSITIONS = 2


class Calls:
    """Calls one loaded decoder. ``context_tokens`` is what its own tables reach to."""

    def __init__(
        self, session: onnxruntime.InferenceSession, decoder: BatchedDecoder, arena: Arena, *, context_tokens: int
    ) -> None:
        """``session`` has the input ``POSITIONS`` where the decoder's head is told them, and only there."""
        self.vocab_size = decoder.vocab_size
        self._session = session
        self._decoder = decoder
        self._arena = arena
        self._context_tokens = context_tokens
        self._selects = any(each.name == POSITIONS for each in session.get_inputs())
        integers = decoder.integers
        self._ids = np.zeros((arena.slots, 1), integers[decoder.input_ids])
        self._positions = np.zeros((arena.slots, 1), np.int64)
        if decoder.position_ids is not None:
            self._positions = self._positions.astype(integers[decoder.position_ids])
        self._logits = np.empty((arena.slots, 1, decoder.vocab_size), decoder.logits_dtype)
        self._mask = np.zeros((arena.slots, 0), integers[decoder.attention_mask])
        self._masked = [0] * arena.slots
        self._first = np.zeros(1, np.int64)
        self._bound: OrderedDict[tuple[int, int], _Bound] = OrderedDict()

    def step(self, start: int, tokens: Sequence[int], lengths: Sequence[int]) -> Numbers:
        """One token more for each row of the window at ``start``; ``lengths`` without it.

        The logits, shape [rows, vocab], are good until the next call. Raises what onnxruntime raises.
        """
        end = start + len(tokens)
        self._ids[start:end, 0] = tokens
        self._positions[start:end, 0] = lengths
        self._set_mask(start, [length + 1 for length in lengths])
        self._session.run_with_iobinding(self._binding(start, end).binding)
        return _plain(self._logits[start:end, 0])

    def read(self, slot: int, tokens: Sequence[int], length: int, *, wants_all: bool = False) -> Numbers:
        """``tokens`` more for a row that holds ``length``: the logits, shape [positions, vocab], of the last ones.

        Of all of them if that is wanted. Raises what onnxruntime raises.
        """
        count, decoder = len(tokens), self._decoder
        first = 0 if wants_all else max(0, count - _LAST_POSITIONS)
        # Where the head is not told, onnxruntime says how many positions there are.
        shape = (1, count - first, decoder.vocab_size)
        logits = np.empty(shape, decoder.logits_dtype) if self._selects else None
        bound = self._bind(
            (slot, slot + 1),
            ids=np.array([tokens], decoder.integers[decoder.input_ids]),
            mask=np.ones((1, length + count), decoder.integers[decoder.attention_mask]),
            positions=np.arange(length, length + count, dtype=self._positions.dtype)[None],
            wanted=np.arange(first, count),
            logits=logits,
        )
        self._session.run_with_iobinding(bound.binding)
        given = bound.binding.get_outputs()[-1].numpy() if logits is None else logits
        return _plain(given[0])

    def _set_mask(self, start: int, lengths: Sequence[int]) -> None:
        steps = -(-max(lengths) // _MASK_STEP_TOKENS)
        width = min(steps * _MASK_STEP_TOKENS, self._context_tokens)
        if width != self._mask.shape[1]:
            self._mask = np.zeros((self._arena.slots, width), self._mask.dtype)
            self._masked = [0] * self._arena.slots
            self._bound.clear()
        for slot, length in enumerate(lengths, start):
            before = self._masked[slot]
            self._mask[slot, before:length] = 1
            self._mask[slot, length:before] = 0
            self._masked[slot] = length

    def _binding(self, start: int, end: int) -> _Bound:
        """What a step of a window needs, most of it from a call before."""
        bound = self._bound.pop((start, end), None)
        if bound is None:
            bound = self._bind(
                (start, end),
                ids=self._ids[start:end],
                mask=self._mask[start:end],
                positions=self._positions[start:end],
                wanted=self._first,
                logits=self._logits[start:end],
            )
        self._bound[start, end] = bound
        if len(self._bound) > _MOST_BOUND:
            self._bound.popitem(last=False)
        return bound

    def _bind(
        self,
        window: tuple[int, int],
        *,
        ids: Numbers,
        mask: Numbers,
        positions: Numbers,
        wanted: Numbers,
        logits: Numbers | None,
    ) -> _Bound:
        decoder, binding = self._decoder, self._session.io_binding()
        given = {decoder.input_ids: ids, decoder.attention_mask: mask}
        if decoder.position_ids is not None:
            given[decoder.position_ids] = positions
        if self._selects:
            given[POSITIONS] = wanted
        inputs = {name: _shared(values) for name, values in given.items()}
        outputs: dict[str, onnxruntime.OrtValue] = {}
        for cache, buffer in zip(decoder.caches, self._arena.buffers, strict=True):
            inputs[cache.past] = outputs[cache.present] = _shared(buffer[slice(*window)])
        if logits is not None:
            outputs[decoder.logits] = _shared(logits)
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        if logits is None:
            binding.bind_output(decoder.logits)
        return _Bound(binding, (*inputs.values(), *outputs.values()))


def _shared(values: Numbers) -> onnxruntime.OrtValue:
    """Contiguous numbers as onnxruntime sees them, in the same memory."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(values)


def _plain(logits: Numbers) -> Numbers:
    return logits.astype(np.float32, copy=False)
