"""Sketches of decoders in all the forms that onnxruntime-genai knows: what is kept between tokens differs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.model_factory.attention import MICROSOFT
from scripts.model_factory.sketch import Sketch
from scripts.model_factory.spec import PRESETS, DecoderSpec, Quantization

TINY = PRESETS["tiny"].spec
ATTENTION, CONVOLUTION, LINEAR_ATTENTION = "full_attention", "conv", "linear_attention"

_TOKENS = ["batch_size", "sequence_length"]


@dataclass(frozen=True, kw_only=True)
class DecoderSketch:
    """What a decoder is made of.

    ``element`` is the type of activations, ``cache`` that of keys and values; ``layer_types`` are those of a hybrid
    model, by default attention everywhere; ``experts`` are of a mixture, of which one token uses ``experts_used``.
    """

    spec: DecoderSpec = TINY
    quantization: Quantization = Quantization.INT4
    element: type[np.generic] = np.float32
    cache: type[np.generic] | None = None
    layer_types: tuple[str, ...] = (ATTENTION,) * TINY.layers
    takes_embeddings: bool = False
    experts: int = 0
    experts_used: int = 0
    is_paged: bool = False
    has_cross_attention: bool = False
    past: str = "past_key_values.%d.{part}"
    present: str = "present.%d.{part}"

    @property
    def kv_bytes_per_token(self) -> int:
        """Only layers with attention keep something for every token."""
        element_bytes = np.dtype(self.cache or self.element).itemsize
        return self.layer_types.count(ATTENTION) * 2 * self.spec.kv_heads * self.spec.head_size * element_bytes

    @property
    def idle_parameters(self) -> int:
        """Weights that one token does not use."""
        expert = 3 * self.spec.hidden_size * self.spec.intermediate_size
        return len(self.layer_types) * (self.experts - self.experts_used) * expert if self.experts else 0

    def save(self, path: Path) -> int:
        """Write the graph; returns its number of parameters."""
        sketch = Sketch(self.quantization, self.element)
        hidden = self._embedded(sketch)
        if self.is_paged:
            for name in ("block_table", "cumulative_sequence_lengths", "past_sequence_lengths"):
                sketch.input(name, np.int32, ["batch_size"])
        else:
            sketch.input("attention_mask", np.int64, ["batch_size", "total_sequence_length"])
        for layer, kind in enumerate(self.layer_types):
            hidden = self._layer(sketch, layer, kind, hidden)
        normed = sketch.norm("model.norm", hidden, self.spec.hidden_size)
        sketch.output("logits", [*_TOKENS, self.spec.vocab_size])
        sketch.linear("/lm_head", normed, self.spec.hidden_size, self.spec.vocab_size, "logits")
        return sketch.save(path)

    def _embedded(self, sketch: Sketch) -> str:
        if self.takes_embeddings:
            return sketch.input("inputs_embeds", self.element, [*_TOKENS, self.spec.hidden_size])
        return embed(sketch, self.spec)

    def _layer(self, sketch: Sketch, layer: int, kind: str, hidden: str) -> str:
        base = f"/model/layers.{layer}"
        normed = sketch.norm(f"model.layers.{layer}.input_layernorm", hidden, self.spec.hidden_size)
        mixers = {ATTENTION: self._attention, CONVOLUTION: self._convolution, LINEAR_ATTENTION: self._recurrence}
        hidden = sketch.add(f"{base}/Add", hidden, mixers[kind](sketch, layer, base, normed))
        normed = sketch.norm(f"model.layers.{layer}.post_attention_layernorm", hidden, self.spec.hidden_size)
        mixed = self._mixture(sketch, base, normed) if self.experts else sketch.feed_forward(base, normed, self.spec)
        return sketch.add(f"{base}/Add_1", hidden, mixed)

    def _attention(self, sketch: Sketch, layer: int, base: str, hidden: str) -> str:
        spec = self.spec
        qkv = sketch.linear(f"{base}/attn/qkv_proj", hidden, spec.hidden_size, spec.query_size + 2 * spec.kv_size)
        past = [self._cache(sketch, layer, part) for part in ("key", "value")]
        present = [self._cache_out(sketch, layer, part) for part in ("key", "value")]
        op = "PagedAttention" if self.is_paged else "GroupQueryAttention"
        name = f"{base}/attn/{op}"
        lengths = (
            ["cumulative_sequence_lengths", "past_sequence_lengths", "block_table"]
            if self.is_paged
            else ["attention_mask"]
        )
        attended = sketch.node(
            op,
            name,
            [qkv, "", "", *past, *lengths],
            [f"{name}/output_0", *present],
            domain=MICROSOFT,
            num_heads=spec.heads,
            kv_num_heads=spec.kv_heads,
            local_window_size=-1,
        )
        if self.has_cross_attention:
            attended = self._cross_attention(sketch, layer, base, attended)
        return sketch.linear(f"{base}/attn/o_proj", attended, spec.query_size, spec.hidden_size)

    def _cross_attention(self, sketch: Sketch, layer: int, base: str, hidden: str) -> str:
        """Over what the encoder made once, however many tokens follow."""
        shape = self._cache_shape("encoder")
        made = [sketch.input(f"past_{part}_cross_{layer}", self.element, shape) for part in ("key", "value")]
        name = f"{base}/cross_attn/MultiHeadAttention"
        return sketch.node("MultiHeadAttention", name, [hidden, *made], domain=MICROSOFT, num_heads=self.spec.heads)

    def _cache(self, sketch: Sketch, layer: int, part: str) -> str:
        return sketch.input(self.past.format(part=part) % layer, self.cache or self.element, self._cache_shape("past"))

    def _cache_out(self, sketch: Sketch, layer: int, part: str) -> str:
        name = self.present.format(part=part) % layer
        return sketch.output(name, self._cache_shape("total"), self.cache or self.element)

    def _cache_shape(self, length: str) -> list[int | str]:
        if self.is_paged:
            return ["num_blocks", 256, self.spec.kv_heads, self.spec.head_size]
        return ["batch_size", self.spec.kv_heads, f"{length}_sequence_length", self.spec.head_size]

    def _convolution(self, sketch: Sketch, layer: int, base: str, hidden: str) -> str:
        size = self.spec.hidden_size
        projected = sketch.linear(f"{base}/conv/in_proj", hidden, size, size)
        mixed = self._causal(sketch, layer, base, projected)
        return sketch.linear(f"{base}/conv/out_proj", mixed, size, size)

    def _recurrence(self, sketch: Sketch, layer: int, base: str, hidden: str) -> str:
        size = self.spec.hidden_size
        mixed = self._causal(sketch, layer, base, sketch.linear(f"{base}/attn/in_proj", hidden, size, size))
        shape: list[int | str] = ["batch_size", self.spec.heads, self.spec.head_size, self.spec.head_size]
        past = sketch.input(f"past.{layer}.recurrent", np.float32, shape)
        present = sketch.output(f"present.{layer}.recurrent", shape, np.float32)
        name = f"{base}/attn/LinearAttention"
        mixed = sketch.node("LinearAttention", name, [mixed, past], [f"{name}/output_0", present], domain=MICROSOFT)
        return sketch.linear(f"{base}/attn/o_proj", mixed, size, size)

    def _causal(self, sketch: Sketch, layer: int, base: str, hidden: str) -> str:
        """A short convolution whose state is the last two positions, however long the text is."""
        shape: list[int | str] = ["batch_size", self.spec.hidden_size, 2]
        past = sketch.input(f"past.{layer}.conv", self.element, shape)
        present = sketch.output(f"present.{layer}.conv", shape)
        weight = sketch.weight(f"model.layers.{layer}.conv.weight", self.spec.hidden_size, 1, 3)
        name = f"{base}/CausalConvWithState"
        inputs = [hidden, weight, "", past]
        return sketch.node("CausalConvWithState", name, inputs, [f"{name}/output_0", present], domain=MICROSOFT)

    def _mixture(self, sketch: Sketch, base: str, hidden: str) -> str:
        """Experts with fused gate and up projections, packed along their rows as QMoE wants them."""
        size, inner = self.spec.hidden_size, self.spec.intermediate_size
        router = sketch.weight(f"{base}/moe/router.weight", size, self.experts)
        probabilities = sketch.node("MatMul", f"{base}/moe/router/MatMul", [hidden, router])
        bits = self.quantization.bits or 16
        inputs = [hidden, probabilities]
        for part, (rows, columns) in (("gate_up", (2 * inner, size)), ("down", (size, inner))):
            name = f"{base}/moe/experts.{part}"
            sketch.parameters += self.experts * rows * columns
            packed = np.full((self.experts, rows, columns * bits // 8), 0x77, np.uint8)
            scales = np.full((self.experts, rows), 0.01, np.float32).astype(self.element)
            inputs += [sketch.constant(f"{name}.weight", packed), sketch.constant(f"{name}.scales", scales), ""]
        return sketch.node(
            "QMoE",
            f"{base}/moe/QMoE",
            inputs[:-1],
            domain=MICROSOFT,
            k=self.experts_used,
            expert_weight_bits=bits,
            activation_type="swiglu",
            swiglu_fusion=1,
            normalize_routing_weights=1,
            use_sparse_mixer=0,
        )


def embed(sketch: Sketch, spec: DecoderSpec) -> str:
    """Token ids in, rows of the embedding table out."""
    tokens = sketch.input("input_ids", np.int64, _TOKENS)
    table = sketch.weight("model.embed_tokens.weight", spec.vocab_size, spec.hidden_size)
    return sketch.node("Gather", "/model/embed_tokens/Gather", [table, tokens])
