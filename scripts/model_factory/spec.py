"""What a model folder is made from: the decoder's shape, the number format of its weights, and named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """Shape of a Qwen2-like decoder. Raises ValueError for a shape that no graph can be made for.

    ``takes_positions``: rotary embeddings stand before attention and are told by an input ``position_ids``, as the
    builder has it for models with partial ones. ``qk_norm``: queries and keys are normed head by head, as in Qwen3.
    ``half_cache``: keys and values are kept, and attention is computed, in fp16. ``window``: attention looks at so
    many tokens, and its caches need be no longer, as in the layers of Gemma's models that are not global.
    ``original_context_tokens``: in a longer text all positions are turned more slowly, as Phi-3's LongRoPE has it; the
    library knows of that for the ``model_type`` "phi3".
    """

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate_size: int
    vocab_size: int
    context_tokens: int
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6
    tied_embeddings: bool = True
    qkv_bias: bool = True
    model_type: str = "qwen2"
    takes_positions: bool = False
    qk_norm: bool = False
    half_cache: bool = False
    window: int | None = None
    original_context_tokens: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is int and value < 1:
                raise ValueError(f"DecoderSpec.{name} is {value}: give at least 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} KV heads: choose a divisor of heads")
        # The CPU kernel of GroupQueryAttention refuses rotary caches whose width is not a multiple of 8.
        if self.half_cache and self.takes_positions:
            raise ValueError(
                "A model with half_cache has its rotary embeddings inside attention: leave takes_positions out"
            )
        if self.head_size % 16:
            raise ValueError(f"DecoderSpec.head_size is {self.head_size}: rotary attention needs a multiple of 16")

    @property
    def query_size(self) -> int:
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        return self.kv_heads * self.head_size

    @property
    def parameters(self) -> int:
        """Number of weights, tied embeddings counted once."""
        attention = self.hidden_size * (2 * self.query_size + 2 * self.kv_size)
        bias = self.query_size + 2 * self.kv_size if self.qkv_bias else 0
        norms = 2 * self.head_size if self.qk_norm else 0
        layer = attention + bias + norms + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return embeddings + self.layers * layer + self.hidden_size


@dataclass(frozen=True)
class Quantization:
    """How matrices are stored: ``bits`` None for fp32, or 4 or 8 in blocks of ``block_size`` along the input axis.

    ``accuracy_level`` is MatMulNBits' own: 4 computes with int8 activations, the builder's default on the CPU.
    """

    bits: int | None
    block_size: int = 32
    accuracy_level: int = 4

    FP32: ClassVar[Quantization]
    INT4: ClassVar[Quantization]
    INT8: ClassVar[Quantization]

    def __post_init__(self) -> None:
        if self.bits not in (None, 4, 8):
            raise ValueError(f"Quantization.bits is {self.bits}: choose 4, 8, or None for fp32")
        if self.block_size not in (32, 128):
            raise ValueError(f"Quantization.block_size is {self.block_size}: choose 32 or 128")

    @classmethod
    def parse(cls, precision: str, block_size: int = 32) -> Quantization:
        """``fp32``, ``int4`` or ``int8`` as a Quantization. Raises ValueError for another name."""
        bits = {"fp32": None, "int4": 4, "int8": 8}
        if precision not in bits:
            raise ValueError(f"Unknown precision {precision!r}: choose one of {', '.join(bits)}")
        return cls(bits[precision], block_size)

    def __str__(self) -> str:
        return "fp32" if self.bits is None else f"int{self.bits} block {self.block_size}"


Quantization.FP32 = Quantization(None)
Quantization.INT4 = Quantization(4)
Quantization.INT8 = Quantization(8)


@dataclass(frozen=True)
class Preset:
    """A decoder and the precision it is written in unless the caller asks for another."""

    spec: DecoderSpec
    quantization: Quantization


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "tiny": Preset(
            DecoderSpec(
                hidden_size=64,
                layers=2,
                heads=4,
                kv_heads=2,
                head_size=16,
                intermediate_size=128,
                vocab_size=320,
                context_tokens=2048,
            ),
            Quantization.INT4,
        ),
        "small": Preset(
            DecoderSpec(
                hidden_size=384,
                layers=8,
                heads=6,
                kv_heads=2,
                head_size=64,
                intermediate_size=1408,
                vocab_size=8192,
                context_tokens=8192,
            ),
            Quantization.INT4,
        ),
        # Qwen2.5-0.5B's published config.json.
        "bench-0.5b": Preset(
            DecoderSpec(
                hidden_size=896,
                layers=24,
                heads=14,
                kv_heads=2,
                head_size=64,
                intermediate_size=4864,
                vocab_size=151_936,
                context_tokens=32_768,
                rope_theta=1_000_000.0,
            ),
            Quantization.INT4,
        ),
        # Qwen2.5-1.5B's.
        "bench-1.5b": Preset(
            DecoderSpec(
                hidden_size=1536,
                layers=28,
                heads=12,
                kv_heads=2,
                head_size=128,
                intermediate_size=8960,
                vocab_size=151_936,
                context_tokens=32_768,
                rope_theta=1_000_000.0,
            ),
            Quantization.INT4,
        ),
    }
)
