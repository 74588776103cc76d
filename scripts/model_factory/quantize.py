"""Block-wise symmetric quantization in the layout of the MatMulNBits operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.model_factory.spec import Quantization

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class PackedMatrix:
    """An [out, in] matrix for MatMulNBits: ``weight`` uint8 [out, blocks, bytes of a block], ``scales`` [out, blocks];
    ``columns`` is ``in`` without the padding to whole blocks.

    There are no zero points: the operator then takes the middle of the range, 8 or 128, as zero.
    """

    weight: Bytes
    scales: Floats
    columns: int


def pack(matrix: Floats, quantization: Quantization) -> PackedMatrix:
    """Quantize an fp32 [out, in] matrix; ``in`` is padded with zeros to whole blocks.

    The element of largest magnitude of a block becomes the lowest level, which uses the whole range. Ties, of magnitude
    and of rounding, fall as in ONNX Runtime's own quantizer: the levels are the same, bit for bit.
    """
    bits, block = _bits(quantization), quantization.block_size
    rows, columns = matrix.shape
    blocks = -(-columns // block)
    padded = np.zeros((rows, blocks * block), np.float32)
    padded[:, :columns] = matrix
    values = padded.reshape(rows, blocks, block)
    lowest, highest = values.min(axis=2, keepdims=True), values.max(axis=2, keepdims=True)
    peak = np.where(highest > np.abs(lowest), highest, lowest)
    middle = 2 ** (bits - 1)
    scales = (peak / -middle).astype(np.float32)
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    levels = np.clip(np.floor(values * inverse + (middle + 0.5)), 0, 2**bits - 1).astype(np.uint8)
    return PackedMatrix(levels if bits == 8 else _nibbles(levels), scales[:, :, 0], columns)


def random_packed(
    shape: tuple[int, int], quantization: Quantization, deviation: float, rng: np.random.Generator
) -> PackedMatrix:
    """Random levels whose values have the standard deviation ``deviation``: fast, nothing has to be quantized."""
    bits, block = _bits(quantization), quantization.block_size
    rows, columns = shape
    blocks = -(-columns // block)
    random = np.frombuffer(rng.bytes(rows * blocks * block * bits // 8), np.uint8)
    weight = _balanced_bytes(bits)[random].reshape(rows, blocks, block * bits // 8)
    levels = np.arange(1, 2**bits) - 2.0 ** (bits - 1)
    scale = deviation / np.sqrt((levels**2).sum() / 2**bits)
    return PackedMatrix(weight, np.full((rows, blocks), scale, np.float32), columns)


def _nibbles(levels: Bytes) -> Bytes:
    """Two 4-bit levels a byte, the first in the low half."""
    return (levels[:, :, 0::2] | (levels[:, :, 1::2] << 4)).astype(np.uint8, copy=False)


def _bits(quantization: Quantization) -> int:
    if quantization.bits is None:
        raise ValueError("fp32 weights are not packed")
    return quantization.bits


def _balanced_bytes(bits: int) -> Bytes:
    """A table from random bytes to packed levels without the lowest level, which has no positive counterpart.

    With it the mean is not zero, and that bias alone makes a deep random model answer every prompt with one token.
    """
    byte = np.arange(256, dtype=np.uint8)
    table = byte.copy()
    if bits == 8:
        table[byte == 0] = 0x80
    else:
        table[byte & 0x0F == 0] |= 0x08
        table[byte >> 4 == 0] |= 0x80
    return table
