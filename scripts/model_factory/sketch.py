"""Small graphs that are built like real ones and not meant to run: what a registry reads from them is true.

Operators, attributes and the names of inputs are those that onnxruntime-genai's model builder writes; shapes fit
together. A Sketch counts the parameters it was given, so that a test can hold a reader against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ValueInfoProto, helper

from scripts.model_factory.attention import MICROSOFT
from scripts.model_factory.graph import Graph
from scripts.model_factory.onnx_files import save_graph
from scripts.model_factory.quantize import random_packed
from scripts.model_factory.spec import DecoderSpec, Quantization

_EXTERNAL_BYTES = 1 << 14
_ALIGNMENT = 1 << 8  # nothing maps these files: they stay small


class Sketch:
    """One graph in the making. ``element`` is the type of activations and of weights that are not quantized."""

    def __init__(
        self,
        quantization: Quantization = Quantization.FP32,
        element: type[np.generic] = np.float32,
        *,
        seed: int = 0,
    ) -> None:
        self.parameters = 0
        self.quantization = quantization
        self.element = element
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._nodes: list[Any] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._random = np.random.default_rng(seed)

    def input(self, name: str, element: type[np.generic], shape: Sequence[int | str]) -> str:
        self._inputs.append(_value(name, element, shape))
        return name

    def output(self, name: str, shape: Sequence[int | str], element: type[np.generic] | None = None) -> str:
        self._outputs.append(_value(name, element or self.element, shape))
        return name

    def weight(self, name: str, *shape: int) -> str:
        self.parameters += prod(shape)
        return self.constant(name, self._random.standard_normal(shape, np.float32).astype(self.element))

    def constant(self, name: str, values: np.ndarray) -> str:
        """An initializer that is no weight: scales, tables, axes."""
        self._arrays[name] = values
        return name

    def node(self, op: str, name: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node and return its first output."""
        outputs = outputs or [f"{name}/output_0"]
        self._nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def linear(self, name: str, hidden: str, size_in: int, size_out: int, output: str | None = None) -> str:
        """``hidden`` times a matrix [size_in, size_out], quantized where this graph is."""
        outputs = [output] if output else []
        bits = self.quantization.bits
        if bits is None:
            return self.node(
                "MatMul", f"{name}/MatMul", [hidden, self.weight(f"{name}.weight", size_in, size_out)], outputs
            )
        self.parameters += size_in * size_out
        packed = random_packed((size_out, size_in), self.quantization, size_in**-0.5, self._random)
        weight = self.constant(f"{name}.weight_Q{bits}", packed.weight)
        scales = self.constant(f"{name}.weight_scales", packed.scales.astype(self.element))
        return self.node(
            "MatMulNBits",
            f"{name}/MatMul_Q{bits}",
            [hidden, weight, scales],
            outputs,
            domain=MICROSOFT,
            K=size_in,
            N=size_out,
            bits=bits,
            block_size=self.quantization.block_size,
            accuracy_level=self.quantization.accuracy_level,
        )

    def norm(self, name: str, hidden: str, size: int) -> str:
        weight = self.weight(f"{name}.weight", size)
        return self.node("SimplifiedLayerNormalization", name, [hidden, weight], axis=-1, epsilon=1e-6, stash_type=1)

    def feed_forward(self, base: str, hidden: str, spec: DecoderSpec) -> str:
        up = self.linear(f"{base}/mlp/up_proj", hidden, spec.hidden_size, spec.intermediate_size)
        activated = self.node("Relu", f"{base}/mlp/Relu", [up])
        return self.linear(f"{base}/mlp/down_proj", activated, spec.intermediate_size, spec.hidden_size)

    def add(self, name: str, left: str, right: str) -> str:
        return self.node("Add", name, [left, right])

    def save(self, path: Path) -> int:
        """Write the graph, large arrays beside it in ``<name>.data``; returns the number of parameters."""
        graph = Graph(self._inputs, self._outputs, self._nodes, self._arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_graph(path, graph, external_bytes=_EXTERNAL_BYTES, alignment=_ALIGNMENT)
        return self.parameters


def encoder(path: Path, source: str, target: str, *, size: int = 64, element: type[np.generic] = np.float32) -> int:
    """A tower that turns features (pixels, sound) into hidden states; returns its number of parameters."""
    sketch = Sketch(element=element)
    hidden = sketch.input(source, element, ["batch_size", "sequence_length", size])
    for layer in range(2):
        hidden = sketch.linear(f"/encoder/layers.{layer}/proj", hidden, size, size)
        hidden = sketch.node("Relu", f"/encoder/layers.{layer}/Relu", [hidden])
    sketch.output(target, ["batch_size", "sequence_length", size])
    sketch.linear("/encoder/proj", hidden, size, size, target)
    return sketch.save(path)


def _value(name: str, element: type[np.generic], shape: Sequence[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(element)), shape)
