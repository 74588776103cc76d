"""The real models that the simulation chooses among: those with published scores, in the variants that people have.

Shapes are from the models' own configurations. Sizes follow from them as onnxruntime-genai's builder writes them: int4
in blocks of 32 with a 2-byte scale, the embedding table not quantised (4 bytes on a CPU, 2 for CUDA). That gives the
sizes of Foundry's catalog: 1.80 GB for qwen2.5-1.5b (1.78 there), 6.16 for 7b (6.16), 2.49 for phi-3.5-mini (2.53).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.model import Device, ExecutionProvider, Modality, Model, Precision, Source, Task

TEXT = (Task.CHAT, Task.CODE, Task.REASONING, Task.MATH)
TOOLS = (*TEXT, Task.TOOLS)
LISTENS = (Task.TRANSCRIPTION,)
EMBEDS = (Task.EMBEDDINGS,)

INT4_BYTES = 0.5 + 2 / 32
INT8_BYTES = 1 + 2 / 32
# People keep int8 of what is small enough, and CUDA variants of what is worth a GPU.
INT8_BELOW_BILLIONS = 5.0
CUDA_FROM_BILLIONS = 0.8


@dataclass(frozen=True, slots=True)
class Shape:
    """``billions`` as published; ``heads`` are key and value heads, ``head_size`` their width."""

    name: str
    billions: float
    layers: int
    hidden: int
    heads: int
    head_size: int
    vocabulary: int
    context_tokens: int
    tasks: tuple[Task, ...] = TEXT
    is_tied: bool = True
    active_billions: float | None = None
    thinks: bool = False
    has_switch: bool = False

    def weight_bytes(self, precision: Precision, embedding_bytes: int) -> int:
        """Of an export; a head that shares its weights with the embedding is written a second time."""
        table = self.vocabulary * self.hidden
        rest = self.billions * 1e9 - table + (table if self.is_tied else 0)
        per_weight = INT4_BYTES if precision is Precision.INT4 else INT8_BYTES
        return int(rest * per_weight + table * embedding_bytes)


SHAPES = (
    Shape("qwen2.5-0.5b-instruct", 0.49, 24, 896, 2, 64, 151_936, 32_768, TOOLS),
    Shape("qwen2.5-1.5b-instruct", 1.54, 28, 1536, 2, 128, 151_936, 32_768, TOOLS),
    Shape("qwen2.5-3b-instruct", 3.09, 36, 2048, 2, 128, 151_936, 32_768, TOOLS),
    Shape("qwen2.5-7b-instruct", 7.61, 28, 3584, 4, 128, 152_064, 32_768, TOOLS, is_tied=False),
    Shape("qwen2.5-14b-instruct", 14.7, 48, 5120, 8, 128, 152_064, 32_768, TOOLS, is_tied=False),
    Shape("qwen2.5-coder-0.5b-instruct", 0.49, 24, 896, 2, 64, 151_936, 32_768, TOOLS),
    Shape("qwen2.5-coder-1.5b-instruct", 1.54, 28, 1536, 2, 128, 151_936, 32_768, TOOLS),
    Shape("qwen2.5-coder-3b-instruct", 3.09, 36, 2048, 2, 128, 151_936, 32_768, TOOLS),
    Shape("qwen2.5-coder-7b-instruct", 7.61, 28, 3584, 4, 128, 152_064, 32_768, TOOLS, is_tied=False),
    Shape("qwen3-0.6b", 0.6, 28, 1024, 8, 128, 151_936, 40_960, TOOLS, thinks=True, has_switch=True),
    Shape("qwen3-1.7b", 1.7, 28, 2048, 8, 128, 151_936, 40_960, TOOLS, thinks=True, has_switch=True),
    Shape("qwen3-4b", 4.0, 36, 2560, 8, 128, 151_936, 40_960, TOOLS, thinks=True, has_switch=True),
    Shape("qwen3-8b", 8.2, 36, 4096, 8, 128, 151_936, 40_960, TOOLS, is_tied=False, thinks=True, has_switch=True),
    Shape("qwen3-14b", 14.8, 40, 5120, 8, 128, 151_936, 40_960, TOOLS, is_tied=False, thinks=True, has_switch=True),
    Shape("qwen3-30b-a3b", 30.5, 48, 2048, 4, 128, 151_936, 40_960, TOOLS, False, 3.3, thinks=True, has_switch=True),
    Shape("qwen3-4b-instruct-2507", 4.0, 36, 2560, 8, 128, 151_936, 262_144, TOOLS),
    Shape("qwen3-embedding-0.6b", 0.6, 28, 1024, 8, 128, 151_936, 32_768, EMBEDS),
    Shape("llama-3.1-8b-instruct", 8.0, 32, 4096, 8, 128, 128_256, 131_072, TOOLS, is_tied=False),
    Shape("llama-3.2-1b-instruct", 1.23, 16, 2048, 8, 64, 128_256, 131_072, TOOLS),
    Shape("llama-3.2-3b-instruct", 3.21, 28, 3072, 8, 128, 128_256, 131_072, TOOLS),
    Shape("phi-3-mini-4k-instruct", 3.8, 32, 3072, 32, 96, 32_064, 4096, is_tied=False),
    Shape("phi-3-mini-128k-instruct", 3.8, 32, 3072, 32, 96, 32_064, 131_072, is_tied=False),
    Shape("phi-3.5-mini-instruct", 3.8, 32, 3072, 32, 96, 32_064, 131_072, is_tied=False),
    Shape("phi-4-mini-instruct", 3.8, 32, 3072, 8, 128, 200_064, 131_072, TOOLS),
    Shape("phi-4-mini-reasoning", 3.8, 32, 3072, 8, 128, 200_064, 131_072, thinks=True),
    Shape("phi-4", 14.0, 40, 5120, 10, 128, 100_352, 16_384, is_tied=False),
    Shape("gemma-2-2b-it", 2.6, 26, 2304, 4, 256, 256_128, 8192),
    Shape("gemma-2-9b-it", 9.2, 42, 3584, 8, 256, 256_128, 8192),
    Shape("gemma-3-1b-it", 1.0, 26, 1152, 1, 256, 262_144, 32_768),
    Shape("gemma-3-4b-it", 4.0, 34, 2560, 4, 256, 262_208, 131_072),
    Shape("gemma-3-12b-it", 12.0, 48, 3840, 8, 256, 262_208, 131_072),
    Shape("mistral-7b-instruct-v0.2", 7.24, 32, 4096, 8, 128, 32_000, 32_768, is_tied=False),
    Shape("smollm2-360m-instruct", 0.36, 32, 960, 5, 64, 49_152, 8192),
    Shape("smollm2-1.7b-instruct", 1.7, 24, 2048, 32, 64, 49_152, 8192),
    Shape("smollm3-3b", 3.08, 36, 2048, 4, 128, 128_256, 65_536, TOOLS, thinks=True, has_switch=True),
    Shape("gpt-oss-20b", 20.9, 24, 2880, 8, 64, 201_088, 131_072, TOOLS, False, 3.6, thinks=True),
    Shape("deepseek-r1-distill-qwen-1.5b", 1.5, 28, 1536, 2, 128, 151_936, 131_072, thinks=True),
    Shape("deepseek-r1-distill-qwen-7b", 7.0, 28, 3584, 4, 128, 152_064, 131_072, is_tied=False, thinks=True),
    Shape("deepseek-r1-distill-llama-8b", 8.0, 32, 4096, 8, 128, 128_256, 131_072, is_tied=False, thinks=True),
    Shape("deepseek-r1-distill-qwen-14b", 14.0, 48, 5120, 8, 128, 152_064, 131_072, is_tied=False, thinks=True),
    Shape("whisper-tiny.en", 0.0378, 4, 384, 6, 64, 51_864, 448, LISTENS),
    Shape("whisper-base.en", 0.0726, 6, 512, 8, 64, 51_864, 448, LISTENS),
    Shape("whisper-small.en", 0.24, 12, 768, 12, 64, 51_864, 448, LISTENS),
    Shape("whisper-medium.en", 0.77, 24, 1024, 16, 64, 51_864, 448, LISTENS),
    Shape("whisper-large-v3-turbo", 0.81, 4, 1280, 20, 64, 51_866, 448, LISTENS),
    Shape("whisper-large-v2", 1.55, 32, 1280, 20, 64, 51_865, 448, LISTENS),
    Shape("whisper-large-v3", 1.55, 32, 1280, 20, 64, 51_866, 448, LISTENS),
)


def catalog() -> tuple[Model, ...]:
    """Every model as int4 for the CPU, small ones as int8 too, and those worth a GPU as int4 for CUDA."""
    return tuple(model for shape in SHAPES for model in _variants(shape))


def _variants(shape: Shape) -> Iterator[Model]:
    yield _model(shape, f"{shape.name}-generic-cpu", Precision.INT4, Device.CPU)
    if shape.billions < INT8_BELOW_BILLIONS:
        yield _model(shape, f"{shape.name}-int8-generic-cpu", Precision.INT8, Device.CPU)
    if shape.billions >= CUDA_FROM_BILLIONS:
        yield _model(shape, f"{shape.name}-cuda-gpu", Precision.INT4, Device.GPU)


def _model(shape: Shape, name: str, precision: Precision, device: Device) -> Model:
    is_cpu = device is Device.CPU
    weights = shape.weight_bytes(precision, embedding_bytes=4 if is_cpu else 2)
    return Model(
        name=name,
        version="1",
        alias=shape.name,
        path=Path("models") / name,
        source=Source.FOUNDRY,
        tasks=shape.tasks,
        family="whisper" if shape.tasks == LISTENS else "unknown",
        parameters=int(shape.billions * 1e9),
        active_parameters=None if shape.active_billions is None else int(shape.active_billions * 1e9),
        precision=precision,
        block_size=32,
        accuracy_level=4 if is_cpu and precision is Precision.INT4 else None,
        execution_provider=ExecutionProvider.CPU if is_cpu else ExecutionProvider.CUDA,
        device=device,
        size_bytes=weights,
        weight_bytes=weights,
        context_tokens=shape.context_tokens,
        kv_bytes_per_token=2 * shape.layers * shape.heads * shape.head_size * (4 if is_cpu else 2),
        kv_precision=Precision.FP32 if is_cpu else Precision.FP16,
        vocab_size=shape.vocabulary,
        modalities=(Modality.AUDIO,) if shape.tasks == LISTENS else (Modality.TEXT,),
        has_chat_template=shape.tasks not in (LISTENS, EMBEDS),
        can_reason=shape.thinks,
        has_thinking_switch=shape.has_switch,
        content=name,
    )
