"""``genai_config.json``: the one file that every onnxruntime-genai model has, read into a frozen value.

Keys as onnxruntime-genai 0.18 writes and reads them.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from registry.documents import Fields, read_json_object
from registry.errors import InvalidModelFolder
from registry.model import Device, ExecutionProvider
from registry.problems import ProblemCode

FILE_NAME = "genai_config.json"
# The parts of a model that have a graph of their own.
_SUB_MODELS = ("decoder", "encoder", "embedding", "vision", "speech", "joiner", "audio")

_EXECUTION_PROVIDERS = {
    "cpu": ExecutionProvider.CPU,
    "cuda": ExecutionProvider.CUDA,
    "dml": ExecutionProvider.DIRECTML,
    "directml": ExecutionProvider.DIRECTML,
    "migraphx": ExecutionProvider.MIGRAPHX,
    "nvtensorrtrtx": ExecutionProvider.TENSORRT_RTX,
    "openvino": ExecutionProvider.OPENVINO,
    "qnn": ExecutionProvider.QNN,
    "tensorrt": ExecutionProvider.TENSORRT_RTX,
    "trtrtx": ExecutionProvider.TENSORRT_RTX,
    "vitis": ExecutionProvider.VITIS_AI,
    "vitisai": ExecutionProvider.VITIS_AI,
    "webgpu": ExecutionProvider.WEBGPU,
}
_DEVICES = {
    ExecutionProvider.CPU: Device.CPU,
    ExecutionProvider.OPENVINO: Device.CPU,
    ExecutionProvider.QNN: Device.NPU,
    ExecutionProvider.VITIS_AI: Device.NPU,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenaiConfig:
    """``execution_provider`` is None where no provider is asked for, which onnxruntime-genai runs on the CPU.

    ``kv_elements_per_token`` is layers x 2 x key-value heads x head size; None where the decoder does not say.
    """

    model_type: str
    context_tokens: int | None
    vocab_size: int | None
    graphs: tuple[str, ...]
    has_decoder: bool
    has_vision: bool
    kv_elements_per_token: int | None
    execution_provider: ExecutionProvider | None
    provider_name: str | None
    device: Device | None


def _refuse_byte_order_mark(path: Path) -> None:
    """Other files may have one; onnxruntime-genai 0.18 cannot read this one with it."""
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
            raise InvalidModelFolder(
                ProblemCode.GENAI_CONFIG_INVALID,
                f"{FILE_NAME} begins with a byte order mark, which onnxruntime-genai cannot read. Save it as UTF-8 "
                "without BOM.",
                file=FILE_NAME,
            )


def read_genai_config(folder: Path) -> GenaiConfig:
    """Raises InvalidModelFolder, also for a model that would load native code of its own."""
    document = read_json_object(folder / FILE_NAME, ProblemCode.GENAI_CONFIG_INVALID)
    _refuse_byte_order_mark(folder / FILE_NAME)
    model = document.child("model")
    if not model:
        raise document.invalid("model", "the object that describes the model")
    decoder = model.child("decoder")
    _refuse_custom_operators(model)
    provider_name, options = _provider(decoder)
    provider = execution_provider(provider_name) if provider_name is not None else None
    return GenaiConfig(
        model_type=_model_type(model),
        context_tokens=model.count("context_length"),
        vocab_size=model.count("vocab_size"),
        graphs=_graphs(model),
        has_decoder=bool(decoder),
        has_vision=bool(model.child("vision")),
        kv_elements_per_token=_kv_elements_per_token(decoder),
        execution_provider=provider,
        provider_name=provider_name,
        device=_device(provider, options) if provider is not None else None,
    )


def execution_provider(name: str) -> ExecutionProvider:
    """By the name that configurations, Foundry ids or ONNX Runtime itself use; UNKNOWN for any other."""
    plain = name.lower().replace("-", "").replace("_", "").removesuffix("executionprovider")
    return _EXECUTION_PROVIDERS.get(plain, ExecutionProvider.UNKNOWN)


def default_device(provider: ExecutionProvider) -> Device:
    """Where a provider runs unless its options say otherwise."""
    return _DEVICES.get(provider, Device.GPU)


def _model_type(model: Fields) -> str:
    model_type = model.text("type")
    if not model_type or not model_type.isprintable() or len(model_type) > 100:
        raise model.invalid("type", "the name of a model type, such as qwen2")
    return model_type


def _graphs(model: Fields) -> tuple[str, ...]:
    """Every ONNX file the model is made of, each once. Raises InvalidModelFolder if there is none."""
    parts = [model.child(name) for name in _SUB_MODELS]
    stages = [stage.child(key) for part in parts for stage in _stages(part) for key in stage]
    named = [part.text("filename") for part in (*parts, *stages)]
    graphs = tuple(dict.fromkeys(name for name in named if name))
    if not graphs:
        raise InvalidModelFolder(
            ProblemCode.GENAI_CONFIG_INVALID,
            f"{FILE_NAME} names no ONNX file (model.decoder.filename). Convert or download the model again.",
            file=FILE_NAME,
        )
    return graphs


def _stages(part: Fields) -> tuple[Fields, ...]:
    """The stages of a pipeline model: a list of objects, or one object, each stage under its own name."""
    if isinstance(part.raw("pipeline"), dict):
        return (part.child("pipeline"),)
    return part.children("pipeline")


def _kv_elements_per_token(decoder: Fields) -> int | None:
    layers, head_size = decoder.count("num_hidden_layers"), decoder.count("head_size")
    heads = decoder.count("num_key_value_heads") or decoder.count("num_attention_heads")
    if layers is None or heads is None or head_size is None:
        return None
    elements = layers * 2 * heads * head_size
    if elements > 2**40:
        raise decoder.invalid("num_hidden_layers", "a number of layers that a machine can hold")
    return elements


def _provider(decoder: Fields) -> tuple[str | None, Fields]:
    """The first provider that is asked for, and its options."""
    session = decoder.child("session_options")
    for entry in session.children("provider_options"):
        for name in entry:
            return name, entry.child(name)
    return None, Fields({}, file=FILE_NAME, code=ProblemCode.GENAI_CONFIG_INVALID)


def _device(provider: ExecutionProvider, options: Fields) -> Device:
    wanted = options.raw("device_type")
    if isinstance(wanted, str) and wanted.lower() in tuple(Device):
        return Device(wanted.lower())
    return default_device(provider)


def _refuse_custom_operators(model: Fields) -> None:
    for name in _SUB_MODELS:
        part = model.child(name)
        stages = [stage.child(key) for stage in _stages(part) for key in stage]
        for options in (each.child("session_options") for each in (part, *stages)):
            if "custom_ops_library" in options:
                raise InvalidModelFolder(
                    ProblemCode.CUSTOM_OPS_LIBRARY,
                    f"The model asks for the native library {options.raw('custom_ops_library')!r:.100}, which would "
                    "run code that came with the model. It is refused: use a build without custom operators.",
                    file=FILE_NAME,
                )
