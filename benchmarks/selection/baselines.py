"""What others choose by, as read in their sources and documentation; each sees the machine, and none the truth.

Each gets the models that can do the task and whose execution provider is installed, and answers with one or None. They
know no ways of answering: a model that can think does what it does when nobody says, which is to think.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from registry.model import Device, Model, Precision, Task
from selector.hardware import Hardware
from selector.speed import machine_rates

Choose = Callable[[Task, Sequence[Model], Hardware], Model | None]

GB = 1_000_000_000

# A models.json as a person writes it: the better ones first, and so many GB of RAM as its notes would say.
HAND_WRITTEN: Mapping[str, float] = {
    "phi-4": 32,
    "qwen2.5-14b-instruct": 32,
    "qwen2.5-7b-instruct": 16,
    "deepseek-r1-distill-qwen-7b": 16,
    "phi-4-mini-instruct": 8,
    "qwen2.5-3b-instruct": 8,
    "qwen2.5-1.5b-instruct": 4,
    "qwen2.5-0.5b-instruct": 2,
    "whisper-large-v3-turbo": 8,
    "whisper-small.en": 4,
    "whisper-tiny.en": 2,
}

# The order in which Foundry Local's catalog lists what is in this one; the rest follows by name.
FOUNDRY_ORDER = (
    "phi-4",
    "phi-3.5-mini-instruct",
    "phi-3-mini-128k-instruct",
    "phi-3-mini-4k-instruct",
    "mistral-7b-instruct-v0.2",
    "deepseek-r1-distill-qwen-14b",
    "deepseek-r1-distill-qwen-7b",
    "phi-4-mini-reasoning",
    "phi-4-mini-instruct",
)
_DEVICES = (Device.NPU, Device.GPU, Device.CPU)

# llmfit: quality by billions of (active) parameters, up to the bound; speed against a target; how memory is filled.
LLMFIT_QUALITY = ((1, 30.0), (3, 45.0), (7, 60.0), (10, 75.0), (20, 82.0), (40, 89.0), (float("inf"), 95.0))
LLMFIT_FAMILIES = {"qwen": 2.0, "deepseek": 3.0, "llama": 2.0, "mistral": 1.0, "gemma": 1.0}
LLMFIT_CODER = 6.0
LLMFIT_GENERAL = (0.45, 0.30, 0.15, 0.10)
LLMFIT_CODING = (0.50, 0.20, 0.15, 0.15)
LLMFIT_EFFICIENCY = 0.55
_LLMFIT_BYTES = {Precision.INT4: 0.58, Precision.INT8: 1.05}


def first_of_the_list(task: Task, models: Sequence[Model], hardware: Hardware) -> Model | None:
    """``viable[0]`` of a hand-written models.json: the first whose ``min_ram_gb`` the machine's total RAM reaches."""
    total_gb = hardware.memory.total_bytes / GB
    by_alias = {model.alias: model for model in models if _is_plain_cpu(model)}
    viable = (name for name, least_gb in HAND_WRITTEN.items() if name in by_alias and least_gb <= total_gb)
    name = next(viable, None)
    return None if name is None else by_alias[name]


def first_alias(task: Task, models: Sequence[Model], hardware: Hardware) -> Model | None:
    """Foundry Local: the first alias of its catalog that can do the task; of it the variant for NPU, GPU or CPU."""
    places = {alias: place for place, alias in enumerate(FOUNDRY_ORDER)}
    return min(
        (model for model in models if model.precision is Precision.INT4),
        key=lambda m: (places.get(m.alias, len(places)), m.alias, _DEVICES.index(m.device)),
        default=None,
    )


def largest_that_fits(task: Task, models: Sequence[Model], hardware: Hardware) -> Model | None:
    """The rule of thumb of forums: the most parameters whose file leaves a fifth of the free memory, the GPU first."""
    fit = [model for model in models if model.weight_bytes <= 0.8 * _free_bytes(model, hardware)]
    return max(
        fit,
        key=lambda m: (m.device is not Device.CPU, m.parameters or 0, m.precision is Precision.INT8, m.name),
        default=None,
    )


def llmfit(task: Task, models: Sequence[Model], hardware: Hardware) -> Model | None:
    """Weighted scores of quality, speed, fit and context; what needs more than is free is not ranked."""
    ranked = [m for m in models if _llmfit_bytes(m) <= _free_bytes(m, hardware)]
    return max(ranked, key=lambda m: (_llmfit_score(task, m, hardware), m.name), default=None)


BASELINES: Mapping[str, Choose] = {
    "viable[0] of a hand-written list": first_of_the_list,
    "Foundry's order of variants": first_alias,
    "largest file that fits": largest_that_fits,
    "llmfit's weighted score": llmfit,
}


def _is_plain_cpu(model: Model) -> bool:
    return model.device is Device.CPU and model.precision is Precision.INT4


def _free_bytes(model: Model, hardware: Hardware) -> int:
    if model.device is Device.CPU:
        return hardware.memory.available_bytes
    return max((card.memory_available_bytes or 0 for card in hardware.accelerators), default=0)


def _llmfit_bytes(model: Model) -> int:
    """Parameters, a KV cache of 2 bytes a number for 4096 tokens, and half a GB."""
    weights = (model.parameters or 0) * _LLMFIT_BYTES[model.precision]
    kv_bytes = model.kv_bytes_per_token / (2 if model.kv_precision is Precision.FP32 else 1)
    return int(weights + kv_bytes * min(4096, model.context_tokens) + 0.5 * GB)


def _llmfit_score(task: Task, model: Model, hardware: Hardware) -> float:
    billions = (model.active_parameters or model.parameters or 0) / 1e9
    quality = next(points for bound, points in LLMFIT_QUALITY if billions < bound)
    quality += next((bump for family, bump in LLMFIT_FAMILIES.items() if family in model.name), 0.0)
    is_code = task is Task.CODE
    quality += LLMFIT_CODER if is_code and "code" in model.name else 0.0
    quality -= 5.0 if model.precision is Precision.INT4 else 0.0
    target = 25.0 if task in (Task.REASONING, Task.MATH) else 40.0
    needed_context = 8192 if task in (Task.CODE, Task.REASONING) else 4096
    scores = (
        min(100.0, quality),
        min(100.0, 100 * _llmfit_tokens_per_second(model, hardware) / target),
        _llmfit_fit(_llmfit_bytes(model) / max(1, _free_bytes(model, hardware))),
        100.0
        if model.context_tokens >= needed_context
        else 70.0
        if 2 * model.context_tokens >= needed_context
        else 30.0,
    )
    weights = LLMFIT_CODING if is_code else LLMFIT_GENERAL
    return sum(weight * score for weight, score in zip(weights, scores, strict=True))


def _llmfit_tokens_per_second(model: Model, hardware: Hardware) -> float:
    bandwidth, _flops, _source = machine_rates(hardware, model.device)
    touched = (model.active_parameters or model.parameters or 1) * _LLMFIT_BYTES[model.precision]
    return LLMFIT_EFFICIENCY * bandwidth / touched


def _llmfit_fit(share: float) -> float:
    """Best between half and four fifths of what is free."""
    if share <= 0.5:
        return 60 + 80 * share
    return 100.0 if share <= 0.8 else 70.0 if share <= 0.9 else 50.0
