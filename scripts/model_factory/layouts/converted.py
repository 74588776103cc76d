"""What conversion tools leave behind: Olive's output, model packages, Optimum's exports, adapters by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.model_factory.files import write_json, write_text
from scripts.model_factory.folder import write_preset
from scripts.model_factory.layouts.configuration import Json
from scripts.model_factory.layouts.decoders import tiny_facts
from scripts.model_factory.layouts.expectation import Expectation
from scripts.model_factory.layouts.parts import write_adapter
from scripts.model_factory.spec import Quantization

_HUB_ID = "Qwen/Qwen2.5-0.5B-Instruct"


def olive_output(root: Path) -> tuple[Expectation, ...]:
    """``olive auto-opt --output_path``: the model in ``model``, beside it what Olive did."""
    folder = write_preset("tiny", root / "tiny-finetune/model", seed=21)
    _write_olive_notes(folder, name=_HUB_ID)
    unnamed = write_preset("tiny", root / "output_model/model", seed=22)
    _write_olive_notes(unnamed, name=_HUB_ID)
    broken = write_preset("tiny", root / "tiny-broken-notes/model", seed=23)
    write_text(broken.parent / "model_config.json", '{"type": "ONNXModel", ')
    return (
        Expectation(path="tiny-finetune/model", facts=_facts(name="tiny-finetune"), answers=True),
        Expectation(path="output_model/model", facts=_facts(name="Qwen2.5-0.5B-Instruct"), answers=True),
        Expectation(
            path="tiny-broken-notes/model",
            facts=_facts(name="tiny-broken-notes"),
            problems=("model_config_invalid",),
            answers=True,
        ),
    )


def model_package(root: Path) -> tuple[Expectation, ...]:
    """``olive generate-model-package``: a manifest, one component, and a whole model for every provider.

    Variants are complete folders of their own: onnxruntime-genai 0.18 as published loads those, and not the package.
    """
    package = root / "tiny.ortpackage"
    variants = {"cpu-int4": ("CPUExecutionProvider", Quantization.INT4), "cpu-fp32": _FP32_ON_CPU}
    for seed, (name, (_provider, quantization)) in enumerate(variants.items()):
        write_preset("tiny", package / "models/decoder" / name, quantization=quantization, seed=31 + seed)
    _write_manifest(package, {name: provider for name, (provider, _quantization) in variants.items()})
    incomplete = root / "incomplete.ortpackage"
    incomplete.mkdir()
    write_json(incomplete / "manifest.json", {"schema_version": "1.0", "components": {"decoder": "models/decoder"}})
    fp32 = {"precision": "fp32", "block_size": None, "accuracy_level": None}
    return (
        Expectation(path="tiny.ortpackage/models/decoder/cpu-int4", facts=_facts(alias="tiny"), answers=True),
        Expectation(path="tiny.ortpackage/models/decoder/cpu-fp32", facts=_facts(alias="tiny", **fp32), answers=True),
        Expectation(path="incomplete.ortpackage", status="invalid", problems=("package_invalid",)),
    )


def optimum_export(root: Path) -> tuple[Expectation, ...]:
    """``optimum-cli export onnx``: graph, tokenizer and config.json, and nothing that onnxruntime-genai could use."""
    for graph in ("flat-export/model.onnx", "nested-export/onnx/model.onnx"):
        whole = write_preset("tiny", (root / graph).parent)
        (whole / "genai_config.json").unlink()
        (whole / "chat_template.jinja").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (root / "nested-export/onnx" / name).replace(root / "nested-export" / name)
    for folder in ("flat-export", "nested-export"):
        write_json(root / folder / "config.json", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    return tuple(
        Expectation(path=folder, status="invalid", problems=("not_genai",))
        for folder in ("flat-export", "nested-export")
    )


def lone_adapter(root: Path) -> tuple[Expectation, ...]:
    """An adapter without its model is nothing to report: people keep them apart."""
    folder = root / "my-lora"
    folder.mkdir(parents=True)
    write_adapter(folder / "adapter_weights.onnx_adapter")
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": _HUB_ID})
    (folder / "adapter_model.safetensors").write_bytes(bytes(1024))
    return ()


_FP32_ON_CPU = ("CPUExecutionProvider", Quantization.FP32)


def _facts(**more: Any) -> Json:
    return {**tiny_facts(), **more}


def _write_olive_notes(folder: Path, *, name: str) -> None:
    model: Json = {
        "type": "ONNXModel",
        "config": {
            "model_path": str(folder),
            "onnx_file_name": "model.onnx",
            "inference_settings": None,
            "use_ort_extensions": False,
            "model_attributes": {
                "_name_or_path": name,
                "architectures": ["Qwen2ForCausalLM"],
                "model_type": "qwen2",
                "additional_files": [str(folder / "genai_config.json"), str(folder / "tokenizer.json")],
            },
        },
    }
    source = {"type": "HfModel", "config": {"model_path": name, "task": "text-generation"}}
    nodes: Json = {
        "a0b1c2d3": _footprint("a0b1c2d3", None, source, None),
        "e4f5a6b7": _footprint("e4f5a6b7", "a0b1c2d3", model, "ModelBuilder"),
    }
    write_json(folder.parent / "model_config.json", model)
    write_json(folder.parent / "footprint.json", nodes)
    write_text(folder.parent / "run_history.txt", "model_id parent_model_id from_pass duration_sec metrics\n")


def _footprint(model_id: str, parent: str | None, model: Json, made_by: str | None) -> Json:
    return {
        "parent_model_id": parent,
        "model_id": model_id,
        "model_config": model,
        "from_pass": made_by,
        "pass_run_config": {"precision": "int4"} if made_by else None,
        "is_pareto_frontier": False,
        "metrics": None,
        "start_time": 1_760_000_000.0,
        "end_time": 1_760_000_060.0,
    }


def _write_manifest(package: Path, providers: dict[str, str]) -> None:
    manifest = {
        "schema_version": "1.0",
        "package_name": "tiny",
        "package_version": "1.0",
        "components": {"decoder": "models/decoder"},
        "additional_metadata": {"producer": {"tool": "olive-ai", "model_name": "tiny", "task": "text_generation"}},
    }
    write_json(package / "manifest.json", manifest)
    write_json(
        package / "models/decoder/component.json",
        {
            "component_name": "decoder",
            "variants": {name: {"ep": provider, "device": "cpu"} for name, provider in providers.items()},
        },
    )
