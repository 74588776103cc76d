"""Which published model is behind a name? Names in the wild differ in case, separators, publisher and export words.

A name is the words that are left when those are gone: ``Phi-4-mini-instruct-generic-cpu`` is {phi4, mini}, and the
model ``Phi-4-mini-instruct`` is that too. One word more or less is another model: {qwen2.5, 7b} is not
{qwen2.5, coder, 7b}. What has words of its own is only a relative (a fine-tune, another variant) of its family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SEPARATORS = re.compile(r"[^a-z0-9.]+")
# A family and its generation, in one word or two: "llama-3.2", "llama3_2", "qwen2-5", "phi4". What follows must not be
# a size ("gemma-2b", "llama-3-8b", "qwen3-0.6b"), nor a letter ("gemma-3n").
_GENERATION = re.compile(r"(?<![a-z0-9])(llama|qwen|phi|gemma|smollm)-?(\d)(?:[.-](\d))?(?=-|$)")
# Where a name cannot have dots: "0-5b" and "v0-2".
_SPLIT_SIZE = re.compile(r"(?<![a-z0-9.])([01])-(\d{1,2}b)(?=-|$)")
_SPLIT_VERSION = re.compile(r"(?<![a-z0-9.])v([01])-(\d)(?=-|$)")
_LANGUAGE = re.compile(r"\.en(?=-|$)")
_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bm]|a\d+b")

# Words that say who published, what format it has, how it was exported or for what.
_PUBLISHERS = (
    "ai amd bartowski community deepseekai google hf hub hugging huggingface huggingfacetb intel meta microsoft "
    "mistralai nvidia official openai org quants qualcomm redhat redhatai unsloth"
)
_FORMATS = (
    "acc accuracy asym awq basic bf16 bit bits block bnb channel cpu cuda default device directml dml dynamic fast "
    "fp16 fp32 generic genai gguf gptq gpu gqa group hqq int4 int8 iq k kquant level m mac migraphx mixed mobile model "
    "models nf4 npu olive onnx onnxruntime openvino opt optimized optimum ort ov per qdq qnn quant quantized rtn rtx s "
    "size static sym tensor tensorrt trt trtrtx u4 uint4 uint8 vitis vitisai w4 w4a16 w8a8 web webgpu windows"
)
_ALWAYS_THERE = "instruct instruction chat it and for gen text only latest release final main new my the"
_SILENT = frozenset(f"{_PUBLISHERS} {_FORMATS} {_ALWAYS_THERE}".split())
# Block sizes and the like. Dates ("2507") are models of their own.
_SILENT_NUMBER = re.compile(r"\d{1,3}|\d{1,2}bit|q\d(?:f16)?|g\d{1,3}|v\d{1,2}\.\d{1,2}\.\d{1,2}")

# Names that people use beside the published one.
_ALSO_CALLED = {
    "DeepSeek-R1-Distill-Qwen-1.5B": ("deepseek-r1-1.5b", "deepseek-r1-qwen-1.5b", "deepseek-r1-distill-1.5b"),
    "DeepSeek-R1-Distill-Qwen-7B": ("deepseek-r1-7b", "deepseek-r1-qwen-7b", "deepseek-r1-distill-7b"),
    "DeepSeek-R1-Distill-Qwen-14B": ("deepseek-r1-14b", "deepseek-r1-qwen-14b", "deepseek-r1-distill-14b"),
    "DeepSeek-R1-Distill-Llama-8B": ("deepseek-r1-llama-8b",),
    "Qwen3-30B-A3B": ("qwen3-30b",),
    "gpt-oss-20b": ("gptoss-20b",),
    "Phi-4": ("phi-4-14b",),
    "Phi-4-mini-instruct": ("phi-4-mini-3.8b",),
    "Phi-3.5-mini-instruct": ("phi-3.5-mini-3.8b", "phi-3.5-mini-128k"),
}
# Words that all models of a family have; the first that fits. A distillation is named after two families.
_FAMILIES: tuple[tuple[str, frozenset[str]], ...] = (
    ("deepseek-r1-distill", frozenset({"deepseek", "r1"})),
    ("gpt-oss", frozenset({"gpt", "oss"})),
    ("whisper", frozenset({"whisper"})),
    *(
        (family, frozenset({family.replace("-", "")}))
        for family in (
            *("qwen2.5", "qwen3", "llama-3.1", "llama-3.2", "phi-3", "phi-3.5", "phi-4"),
            *("gemma-2", "gemma-3", "smollm2", "smollm3"),
        )
    ),
)
# What a configuration calls the architecture of a family; others say that the name is somebody's fancy.
_ARCHITECTURES = {
    "deepseek-r1-distill": ("llama", "qwen"),
    "smollm2": ("llama", "smollm"),
    "smollm3": ("llama", "smollm"),
    **dict.fromkeys(("qwen2.5", "qwen3"), ("qwen",)),
    **dict.fromkeys(("phi-3", "phi-3.5", "phi-4"), ("phi",)),
    **dict.fromkeys(("llama-3.1", "llama-3.2"), ("llama",)),
    **dict.fromkeys(("gemma-2", "gemma-3"), ("gemma",)),
    **{family: (family,) for family in ("gpt-oss", "mistral", "whisper")},
}
_KNOWN_ARCHITECTURES = frozenset(name for names in _ARCHITECTURES.values() for name in names)
# Words of relatives that were trained like their family; any other word is somebody else's doing, or another kind.
_KIN = frozenset(
    (
        *("base", "coder", "math", "reasoning", "thinking", "plus", "distill", "qwen", "llama"),
        *("tiny", "mini", "small", "medium", "large", "turbo", "en", "v2", "v3", "4k", "8k", "128k"),
    )
)


@dataclass(frozen=True, slots=True)
class Relation:
    """``listed`` is the published model itself; else ``family``, and whether the model is ``kin`` of it in all."""

    listed: str | None = None
    family: str | None = None
    is_kin: bool = False


def index_names(names: Iterable[str]) -> Mapping[frozenset[str], str]:
    """From the words of a published name, and of the other names it goes by, to the name."""
    return {telling_words(text): name for name in names for text in (name, *_ALSO_CALLED.get(name, ()))}


def relate(name: str, index: Mapping[frozenset[str], str]) -> Relation:
    """What ``name`` says, by itself, about the model it belongs to."""
    words = telling_words(name)
    family = next((family for family, needed in _FAMILIES if needed <= words), None)
    own = words - next((needed for known, needed in _FAMILIES if known == family), frozenset())
    is_kin = all(word in _KIN or _SIZE.fullmatch(word) for word in own)
    listed = index.get(words)
    return Relation(listed, family, is_kin or listed is not None)


def can_be(family: str, architecture: str) -> bool:
    """False where the architecture that was read from a model's files is one that ``family`` never has."""
    return architecture not in _KNOWN_ARCHITECTURES or architecture in _ARCHITECTURES.get(family, ())


def telling_words(name: str) -> frozenset[str]:
    """The words of ``name`` that say which model it is."""
    text = _SEPARATORS.sub("-", _LANGUAGE.sub("-en", name.lower()))
    text = _GENERATION.sub(lambda found: found[1] + ".".join(part for part in found.groups()[1:] if part), text)
    text = _SPLIT_VERSION.sub(r"v\1.\2", _SPLIT_SIZE.sub(r"\1.\2", text)).replace("gptoss", "gpt-oss")
    words = frozenset(word.strip(".") for word in text.split("-")) - {""}
    if any(word.startswith("qwen") and word != "qwen" for word in words):
        words -= {"qwen"}  # the publisher
    return frozenset(word for word in words if word not in _SILENT and not _SILENT_NUMBER.fullmatch(word))
