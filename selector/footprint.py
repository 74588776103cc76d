"""Bytes a model needs at a context length, and the longest context that fits into given bytes.

    need = k x weights + KV per token x context + activations + runtime

Invariant: ``need_bytes`` grows with the context, and ``longest_context`` is its inverse on multiples of
``CONTEXT_STEP`` and on the model's own context length. A fact that is not known is counted at its worst.

Factors k were measured on onnxruntime-genai (steady resident memory / weight bytes, 2-core AVX512-VNNI machine): the
CPU kernels keep a repacked copy of part of the weights. Those marked "judged" have not been measured yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.model import Device, Model, Precision

MIB = 1024 * 1024
GIB = 1024 * MIB

CONTEXT_STEP = 256
# A prompt is prefilled in chunks of 128 tokens; their logits exist twice, in the engine and as a copy.
LOGIT_ROWS = 256
# Measured 64 MiB for interpreter, engine and tokenizer of a model of 0.2 MB; the rest is room for a worker's own code.
RUNTIME_BYTES = 110 * MIB
# Beside logits: not visible in the peak of a 0.5 B model, and 30 MiB by the layer sizes of one of 7 B.
ACTIVATION_BYTES = 64 * MIB
# The largest vocabulary in the families that get exported (Gemma 3).
UNKNOWN_VOCABULARY = 262_144

GPU_WEIGHT_FACTOR = 1.05
INT4_WEIGHT_FACTOR = 1.45  # measured at accuracy_level 4
INT4_FLOAT_WEIGHT_FACTOR = 1.0  # measured 0.83 at accuracy_level 0
CPU_WEIGHT_FACTORS = {
    Precision.INT4: INT4_WEIGHT_FACTOR,
    Precision.INT8: 1.25,
    Precision.FP32: 1.25,  # measured 1.25 on 77 MiB of weights
    Precision.FP16: 2.1,  # judged: the CPU computes in fp32 and keeps that copy
    Precision.BF16: 2.1,
    Precision.UNKNOWN: 2.1,
}
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
    """What a model needs, part by part, in bytes. ``str()`` is the sum as a person would check it."""

    weight_bytes: int
    weight_factor: float
    kv_bytes: int
    fixed_bytes: int
    context_tokens: int

    @property
    def total_bytes(self) -> int:
        return int(self.weight_factor * self.weight_bytes) + self.kv_bytes + self.fixed_bytes

    def __str__(self) -> str:
        return (
            f"{format_bytes(self.total_bytes)} = {self.weight_factor:g} x {format_bytes(self.weight_bytes)} weights + "
            f"{format_bytes(self.kv_bytes)} KV at {self.context_tokens} + {format_bytes(self.fixed_bytes)}"
        )


def footprint(model: Model, context_tokens: int) -> Footprint:
    """What ``model`` needs with ``context_tokens`` of prompt and answer, all requests at the same time together."""
    weights = weight_bytes(model)
    vocabulary = model.vocab_size or UNKNOWN_VOCABULARY
    logits = 4 * min(LOGIT_ROWS, model.context_tokens) * vocabulary
    return Footprint(
        weight_bytes=weights,
        weight_factor=weight_factor(model),
        kv_bytes=kv_bytes_per_token(model) * context_tokens,
        # A model of a megabyte has no layer whose activations come near that.
        fixed_bytes=min(ACTIVATION_BYTES, weights) + logits + RUNTIME_BYTES,
        context_tokens=context_tokens,
    )


def need_bytes(model: Model, context_tokens: int) -> int:
    return footprint(model, context_tokens).total_bytes


def longest_context(model: Model, budget_bytes: int) -> int:
    """Tokens of the longest context that fits: the model's own, else a multiple of 256, which is 0 if nothing fits."""
    spare = budget_bytes - need_bytes(model, 0)
    if spare < 0:
        return 0
    per_token = kv_bytes_per_token(model)
    fitting = spare // per_token if per_token else model.context_tokens
    return model.context_tokens if fitting >= model.context_tokens else fitting // CONTEXT_STEP * CONTEXT_STEP


def reserve_bytes(total_bytes: int) -> int:
    """What is always left to everything else on the machine: a tenth, at least 0.5 and at most 4 GiB."""
    return min(max(total_bytes // 10, GIB // 2), 4 * GIB)


def weight_factor(model: Model) -> float:
    """k: resident bytes per byte of weights. int4 counts as accuracy level 4 unless the files say it is 0."""
    if model.device is not Device.CPU:
        return GPU_WEIGHT_FACTOR
    if model.precision is Precision.INT4 and model.accuracy_level == 0:
        return INT4_FLOAT_WEIGHT_FACTOR
    return CPU_WEIGHT_FACTORS[model.precision]


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
    """
    if model.kv_bytes_per_token > 0:
        return model.kv_bytes_per_token
    hidden = (64 / 12 * parameter_bounds(model)[1]) ** (1 / 3)
    return int(hidden**2 / 8)


def format_bytes(count: int) -> str:
    """Decimal units as disks and downloads use them: "317 MB", "6.1 GB"."""
    if count < 1_000_000:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"
