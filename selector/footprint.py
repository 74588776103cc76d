"""Bytes a model needs at a context length, and the longest context that fits into given bytes.

    need = k x weights + bytes per token x context + logits, activations, tokenizer and runtime

Invariant: ``need_bytes`` grows with the context, and ``longest_context`` is its inverse on multiples of
``CONTEXT_STEP`` and on the model's own context length. A fact that is not known is counted at its worst.

The numbers were measured on the CPU with onnxruntime 1.32 and onnxruntime-genai 0.18, as resident memory of the worker
process on models of 3 to 840 MiB (``benchmarks/footprint.py`` repeats it); those marked "judged" were not measured.
What was seen, part by part:

* Matrices in blocks (MatMulNBits): the kernel repacks them, and keeps scales and sums of the blocks of its own beside
  the scales of the file. At accuracy level 0 it keeps no copy of the scales.
* Matrices in fp32: repacked once, the file's pages are given back.
* An embedding table that is tied to the head is folded into a second copy, in the bits of the head (int8 graphs have a
  table of their own). One that is not tied is mapped, and becomes resident row by row as texts use it. So is a tied one
  in int4 in batches: what is counted for the logits of a whole chunk, which are not made there, has room for it.
* The key-value cache is zeroed when a request is admitted, so all of it is resident, used or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from registry.model import Device, Model, Precision

MIB = 1024 * 1024
GIB = 1024 * MIB

CONTEXT_STEP = 256
# A prompt is prefilled in chunks of 128 tokens, and the engine makes logits for each of them. Prompts that are read at
# the same time hold one chunk each (measured: 4 of them, 3 chunks more); for so short a time the reserve is there.
LOGIT_ROWS = 128
# Measured 70 MiB for interpreter, engine and libraries with a model of 3 MiB loaded, and 6 more from its first answer.
RUNTIME_BYTES = 70 * MIB
FIRST_ANSWER_BYTES = 6 * MIB
# Plain onnxruntime, which runs decoders in batches, is one more library (measured 24 MiB, and 8 more where the two were
# compared). It makes logits for few positions: the room for those above has room for it, but in the smallest models.
SECOND_ENGINE_BYTES = 32 * MIB
# Measured 360 to 420 for vocabularies from 16,000 to 152,000 tokens.
TOKENIZER_BYTES_PER_TOKEN = 400
# What is kept of a request beside its cache: text, ids, mask, scratch of attention, and the rows it reads of the rotary
# tables. Measured 470 to 680 at 31,000 tokens.
REQUEST_BYTES_PER_TOKEN = 512
# Sine and cosine for heads of 64, which stand in the files for the model's whole context.
ROTARY_BYTES_PER_TOKEN = 256
# Activations of a chunk, as vectors of the hidden size for each of its tokens: measured 30 to 50. The arena gives their
# memory to the logits, which come last, so that the larger of the two counts.
ACTIVATION_VECTORS = 48
# Tokens of a cache that was given back, whose memory the next one, of another size, does not use again. Measured up to
# 290 after a few requests; it shows where a model has many KV heads and the context is short.
LEFT_OVER_TOKENS = 256
# The largest vocabulary in the families that get exported (Gemma 3).
UNKNOWN_VOCABULARY = 262_144
# The model builder's default.
UNKNOWN_BLOCK_SIZE = 32

GPU_WEIGHT_FACTOR = 1.05
FLOAT16_WEIGHT_FACTOR = 2.1  # judged: the CPU computes in fp32 and keeps that copy
# As much as any of the others: int4 in blocks of 16 that is nothing but a tied table comes to 2.33.
UNKNOWN_WEIGHT_FACTOR = 2.4
_BITS = {Precision.INT4: 4, Precision.INT8: 8, Precision.FP32: 32}
# Smallest and largest bytes of weights per parameter; the upper end is reached by small models, whose embedding table
# is not quantised.
BYTES_PER_PARAMETER = {
    Precision.FP32: (3.9, 4.2),
    Precision.FP16: (1.9, 2.2),
    Precision.BF16: (1.9, 2.2),
    Precision.INT8: (0.95, 1.5),
    Precision.INT4: (0.5, 1.0),
    Precision.UNKNOWN: (0.5, 4.2),
}


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model needs, part by part, in bytes. ``str()`` is the sum as a person would check it.

    ``kv_bytes``: the key-value cache of ``context_tokens`` and what is kept of their text. ``fixed_bytes``: logits,
    activations, tokenizer, runtime. ``loaded_bytes``: what its process held here after loading, which takes the place
    of the weights, the tokenizer and the runtime.
    """

    weight_bytes: int
    weight_factor: float
    kv_bytes: int
    fixed_bytes: int
    context_tokens: int
    loaded_bytes: int | None = None

    @property
    def total_bytes(self) -> int:
        weights = int(self.weight_factor * self.weight_bytes) if self.loaded_bytes is None else self.loaded_bytes
        return weights + self.kv_bytes + self.fixed_bytes

    def __str__(self) -> str:
        weights = (
            f"{self.weight_factor:g} x {format_bytes(self.weight_bytes)} weights"
            if self.loaded_bytes is None
            else f"{format_bytes(self.loaded_bytes)} measured after loading"
        )
        return (
            f"{format_bytes(self.total_bytes)} = {weights} + {format_bytes(self.kv_bytes)} KV at "
            f"{self.context_tokens} + {format_bytes(self.fixed_bytes)}"
        )


def footprint(model: Model, context_tokens: int, *, loaded_bytes: int | None = None) -> Footprint:
    """What ``model`` needs with ``context_tokens`` of prompt and answer, all requests at the same time together.

    ``loaded_bytes``: resident memory of its process after loading, if that was measured here.
    """
    beside = RUNTIME_BYTES + _tokenizer_bytes(model) if loaded_bytes is None else _mapped_bytes(model, loaded_bytes)
    return Footprint(
        weight_bytes=weight_bytes(model),
        weight_factor=weight_factor(model),
        kv_bytes=_bytes_per_token(model) * context_tokens,
        fixed_bytes=_working_bytes(model) + beside,
        context_tokens=context_tokens,
        loaded_bytes=loaded_bytes,
    )


def need_bytes(model: Model, context_tokens: int, *, loaded_bytes: int | None = None) -> int:
    return footprint(model, context_tokens, loaded_bytes=loaded_bytes).total_bytes


def longest_context(model: Model, budget_bytes: int, *, loaded_bytes: int | None = None) -> int:
    """Tokens of the longest context that fits: the model's own, else a multiple of 256, which is 0 if nothing fits."""
    spare = budget_bytes - need_bytes(model, 0, loaded_bytes=loaded_bytes)
    if spare < 0:
        return 0
    fitting = spare // _bytes_per_token(model)
    return model.context_tokens if fitting >= model.context_tokens else fitting // CONTEXT_STEP * CONTEXT_STEP


def reserve_bytes(total_bytes: int) -> int:
    """What is always left to everything else on the machine: a tenth, at least 0.5 and at most 4 GiB."""
    return min(max(total_bytes // 10, GIB // 2), 4 * GIB)


def weight_factor(model: Model) -> float:
    """k: bytes of weights and of the kernels' own copies per byte of weights in the files, up to the next hundredth."""
    if model.device is not Device.CPU:
        return GPU_WEIGHT_FACTOR
    if model.precision in (Precision.FP16, Precision.BF16):
        return FLOAT16_WEIGHT_FACTOR
    weights = weight_bytes(model)
    if model.precision is Precision.UNKNOWN or not weights:
        return UNKNOWN_WEIGHT_FACTOR
    factor = (weights - _idle_bytes(model) + _repacked_bytes(model) + _folded_bytes(model)) / weights
    return min(math.ceil(factor * 100) / 100, UNKNOWN_WEIGHT_FACTOR)


def weight_bytes(model: Model) -> int:
    """Bytes of the loaded graphs; where a scan could not tell, of the whole folder, or what the parameters can take."""
    known = model.weight_bytes or model.size_bytes
    if known:
        return known
    return int((model.parameters or 0) * BYTES_PER_PARAMETER[model.precision][1])


def parameter_bounds(model: Model) -> tuple[float, float]:
    """Fewest and most parameters that the facts allow: the same number twice if it is known."""
    if model.parameters:
        return float(model.parameters), float(model.parameters)
    least_bytes, most_bytes = BYTES_PER_PARAMETER[model.precision]
    weights = weight_bytes(model)
    return weights / most_bytes, weights / least_bytes


def kv_bytes_per_token(model: Model) -> int:
    """Of one sequence over all layers. Not known: fp32 with one KV head per attention head, the widest there is.

    That bound follows from 12 x layers x hidden^2 parameters and layers of about hidden / 64: 8 x layers x hidden bytes
    is hidden^2 / 8. It gives 0.93 MB for the 3.8 B parameters of Phi-3-mini, which has 0.79.

    Layers with a sliding window count whole. The engine keeps window + 16 tokens of the layers that the configuration
    lists (measured), but how many these are is not known here, and on the CPU it slides no cache unless told so.
    """
    if model.kv_bytes_per_token > 0:
        return model.kv_bytes_per_token
    hidden = (64 / 12 * parameter_bounds(model)[1]) ** (1 / 3)
    return int(hidden**2 / 8)


def _bytes_per_token(model: Model) -> int:
    return kv_bytes_per_token(model) + REQUEST_BYTES_PER_TOKEN


def _working_bytes(model: Model) -> int:
    """What comes with the first request and stays, or was there for a moment while the model was loaded.

    That moment counts for fp32: the head is folded and repacked before the tokenizer is there.
    """
    logits = 4 * min(LOGIT_ROWS, model.context_tokens) * _vocabulary(model)
    activations = int(4 * LOGIT_ROWS * ACTIVATION_VECTORS * _hidden_size(model))
    left_over = LEFT_OVER_TOKENS * kv_bytes_per_token(model)
    at_work = FIRST_ANSWER_BYTES + max(logits, activations) + left_over
    if model.precision in (Precision.FP32, Precision.UNKNOWN):
        at_work = max(at_work, int(4 * _table_parameters(model)) - _tokenizer_bytes(model))
    return max(at_work, FIRST_ANSWER_BYTES + SECOND_ENGINE_BYTES)


def _tokenizer_bytes(model: Model) -> int:
    return TOKENIZER_BYTES_PER_TOKEN * _vocabulary(model)


def _repacked_bytes(model: Model) -> float:
    """What kernels keep beyond as much as stands in the files: two floats for each block of weights."""
    if model.precision is Precision.FP32 or (model.precision is Precision.INT4 and model.accuracy_level == 0):
        return 0.0
    in_blocks = _parameters(model) - (_own_table_bytes(model) / 4 if model.vocab_size else 0)
    return 8 / _block_size(model) * in_blocks


def _folded_bytes(model: Model) -> float:
    """The second copy of a tied table. fp32 files do not show whether theirs is tied; most small models' are."""
    if model.precision is Precision.INT8 or (model.vocab_size and _own_table_bytes(model)):
        return 0.0
    return _BITS[model.precision] / 8 * _table_parameters(model)


def _idle_bytes(model: Model) -> float:
    """Of the files: rotary tables, which count with the tokens that read them, and the padding between weights."""
    beside = weight_bytes(model) - _stored_bytes(model) * _parameters(model)
    others = _other_bytes(model)
    is_padding = model.vocab_size is not None and others < _table_parameters(model) / 4
    return beside if is_padding else beside - others


def _mapped_bytes(model: Model, loaded_bytes: int) -> int:
    """What was not resident right after loading: an embedding table of its own. Where nobody knows, all weights.

    In fp32 it is what is missing: with a tied table the process holds more than the files.
    """
    if model.device is not Device.CPU or model.precision in (Precision.FP16, Precision.BF16):
        return 0
    if model.precision is Precision.FP32:
        whole = weight_bytes(model) - _idle_bytes(model) + RUNTIME_BYTES + _tokenizer_bytes(model)
        return max(0, int(whole) - loaded_bytes)
    is_known = model.parameters and model.precision is not Precision.UNKNOWN
    return int(_own_table_bytes(model)) if is_known else weight_bytes(model)


def _own_table_bytes(model: Model) -> float:
    """The fp32 embedding table beside matrices in blocks, if it is not tied to the head: then the files hold more than
    the blocks take, by what a table takes more in fp32."""
    others = _other_bytes(model)
    if model.precision is Precision.FP32 or (model.vocab_size and others < _table_parameters(model)):
        return 0.0
    return min(others * 4 / (4 - _stored_bytes(model)), float(weight_bytes(model)))


def _other_bytes(model: Model) -> float:
    """Bytes of the files that are neither in matrices of the model's precision nor in rotary tables."""
    in_matrices = _stored_bytes(model) * _parameters(model)
    return max(0.0, weight_bytes(model) - in_matrices - ROTARY_BYTES_PER_TOKEN * model.context_tokens)


def _stored_bytes(model: Model) -> float:
    """Bytes of a file for one parameter of a large matrix, with the scale of its block; at least that many."""
    if model.precision in (Precision.INT4, Precision.INT8):
        return _BITS[model.precision] / 8 + 4 / _block_size(model)
    if model.precision is Precision.FP32:
        return 4.0
    return BYTES_PER_PARAMETER[model.precision][0]


def _parameters(model: Model) -> float:
    """No more than fit into the files, which is the number that counts where none is known."""
    fitting = weight_bytes(model) / _stored_bytes(model)
    return min(float(model.parameters), fitting) if model.parameters else fitting


def _hidden_size(model: Model) -> float:
    """Estimated: vocabulary x hidden + 12 x layers x hidden^2 parameters, with hidden / 32 layers.

    Models of less than 2 B parameters have that many; larger ones fewer, and the table is a small part of them. Solved
    by Newton's method, which comes from above and has all digits that count after four steps.
    """
    parameters, vocabulary = _parameters(model), _vocabulary(model)
    hidden: float = min(parameters / vocabulary, (32 / 12 * parameters) ** (1 / 3))
    for _ in range(4):
        excess = vocabulary * hidden + 12 / 32 * hidden**3 - parameters
        hidden -= excess / (vocabulary + 36 / 32 * hidden**2)
    return hidden


def _table_parameters(model: Model) -> float:
    return _vocabulary(model) * _hidden_size(model)


def _vocabulary(model: Model) -> int:
    return model.vocab_size or UNKNOWN_VOCABULARY


def _block_size(model: Model) -> int:
    return model.block_size or UNKNOWN_BLOCK_SIZE


def format_bytes(count: int) -> str:
    """Decimal units as disks and downloads use them: "317 MB", "6.1 GB"."""
    if count < 1_000_000:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"
