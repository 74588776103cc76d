"""The last part of a decoder, from hidden states to logits, and how to have it computed for some positions only.

A decoder computes logits for every token of a prompt, and only the last ones are wanted: with a large vocabulary that
is a quarter of the work. A Gather in front of the head leaves the rest out. It changes nothing else where every node
from there on treats each position by itself, which is what is looked for here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry.onnx.wiring import WiredNode, Wiring, with_gather

# The input of the graph that says which positions.
POSITIONS = "slmreg/positions"

# Operators that change each number by itself, or together with a constant.
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Tanh", "Cast", "Identity", "Clip", "Neg", "Sigmoid"})
# Products with constants, which are the inputs from 1 on.
_PRODUCTS = frozenset({"MatMul", "MatMulNBits"})
# What stands before a head and gives as many positions as it gets.
_NORMS = frozenset(
    {
        "LayerNormalization",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)
# What picks positions: a head behind one of these is told the last one already.
_PICKERS = frozenset({"Gather", "GatherND", "GatherElements", "Slice"})


@dataclass(frozen=True, slots=True)
class Head:
    """The head begins at the node with this number, which takes the hidden states ``tensor``."""

    node: int
    tensor: str

    def selective(self, data: bytes) -> bytes:
        """The model ``data`` with an input ``POSITIONS`` more, the positions whose logits it gives."""
        return with_gather(data, self.node, self.tensor, POSITIONS)


@dataclass(frozen=True, slots=True)
class FoundHead:
    """``place`` None: the graph has to run as it is. ``sees_all_positions``: it then gives logits for all of them."""

    place: Head | None
    sees_all_positions: bool


def find_head(wiring: Wiring, logits: str) -> FoundHead:
    makers = {name: number for number, node in enumerate(wiring.nodes) for name in node.outputs if name}
    takers = _takers(wiring.nodes)
    constants = _constants(wiring)
    tensor = logits
    while tensor in makers:
        number = makers[tensor]
        node = wiring.nodes[number]
        source = _source(node, constants, wiring.constants)
        if source is None or (tensor != logits and takers[tensor] != 1):
            break
        if node.op_type in _PRODUCTS:
            return _judged(Head(number, source), wiring, makers, takers)
        tensor = source
    return FoundHead(None, sees_all_positions=False)


def _judged(head: Head, wiring: Wiring, makers: Mapping[str, int], takers: Mapping[str, int]) -> FoundHead:
    maker = wiring.nodes[makers[head.tensor]].op_type if head.tensor in makers else ""
    outputs = {each.name for each in wiring.outputs}
    if maker in _NORMS and takers[head.tensor] == 1 and head.tensor not in outputs:
        return FoundHead(head, sees_all_positions=True)
    return FoundHead(None, sees_all_positions=maker in _NORMS)


def _source(node: WiredNode, constants: frozenset[str], dims: Mapping[str, tuple[int, ...]]) -> str | None:
    """The one input that depends on the tokens, if the node treats each of their positions by itself."""
    living = [name for name in node.inputs if name and name not in constants]
    if len(living) != 1 or (node.inputs[0] != living[0] and node.op_type in _PRODUCTS):
        return None
    if node.op_type in _PRODUCTS:
        return living[0]
    others = [name for name in node.inputs if name in constants]
    # Along the positions, the last axis but one, a constant must be the same.
    is_even = all(name in dims and (len(dims[name]) < 2 or dims[name][-2] == 1) for name in others)
    return living[0] if node.op_type in _ELEMENTWISE and is_even else None


def _constants(wiring: Wiring) -> frozenset[str]:
    """The names of all that is the same for any tokens."""
    known = set(wiring.constants)
    for node in wiring.nodes:  # in an order in which they can be computed
        if node.op_type != "Constant" and all(name in known for name in node.inputs if name):
            known |= set(node.outputs) if node.inputs else set()
    return frozenset(known)


def _takers(nodes: Iterable[WiredNode]) -> dict[str, int]:
    """How often each tensor is taken."""
    counts: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            counts[name] = counts.get(name, 0) + 1
    return counts
