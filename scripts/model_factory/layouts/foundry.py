"""Foundry Local's cache, with everything in it that its own scanner passes over in silence."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from scripts.model_factory.files import write_json, write_text
from scripts.model_factory.folder import write_preset
from scripts.model_factory.layouts.decoders import tiny_facts
from scripts.model_factory.layouts.expectation import TEXT_TASKS, Expectation

_PUBLISHER = "Microsoft"
_TEMPLATE = {
    "system": "<|im_start|>system\n{Content}<|im_end|>",
    "user": "<|im_start|>user\n{Content}<|im_end|>",
    "assistant": "<|im_start|>assistant\n{Content}<|im_end|>",
    "prompt": "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant",
}


def foundry_cache(root: Path) -> tuple[Expectation, ...]:
    """A cache (``root`` is ``.foundry/cache/models``) with a catalog, versions, and a folder of a person's own."""
    _write_catalog(root)
    return (
        _downloaded(root, 1),
        _downloaded(root, 2),
        _thinking(root),
        *_unusual_names(root),
        _brought(root),
        *_unusable(root),
        # One entry of the catalog cannot be read: that is said, and the others count.
        Expectation(path=".", status="invalid", problems=("catalog_invalid",)),
    )


def foundry_cache_at_root(root: Path) -> tuple[Expectation, ...]:
    """A cache that is itself the model's folder."""
    write_preset("tiny", root, name="at-the-root:3")
    return (Expectation(path=".", facts=_facts("at-the-root", "3"), answers=True),)


def foundry_registration(cache: Path, folder: Path) -> tuple[Expectation, ...]:
    """A model anywhere on the machine that an app registered with a cache; the path is relative to ``folder``."""
    write_preset("tiny", folder, seed=9)
    cache.mkdir(parents=True, exist_ok=True)
    about = {"id": "registered-generic-cpu:7", "name": "registered-generic-cpu", "version": 7, "alias": "registered"}
    index = {"version": 3, "models": [{"model_info": about, "model_path": str(folder)}]}
    write_json(cache / "foundry.local.modelinfo.json", index)
    return (Expectation(path=".", facts=_facts("registered-generic-cpu", "7", alias="registered"), answers=True),)


def _downloaded(root: Path, version: int) -> Expectation:
    """As Foundry downloads: publisher, id with a dash before the version, and the files one level down."""
    path = f"{_PUBLISHER}/Tiny-generic-cpu-{version}/v{version}"
    write_preset("tiny", root / path, name=f"Tiny-generic-cpu:{version}", seed=version)
    facts = _facts("Tiny-generic-cpu", str(version), alias="tiny", publisher=_PUBLISHER, license="MIT")
    return Expectation(path=path, facts={**facts, "max_output_tokens": 512}, answers=True)


def _thinking(root: Path) -> Expectation:
    """What the catalog knows and the folder does not say: how it calls tools and where its reasoning ends."""
    path = f"{_PUBLISHER}/Thinker-generic-cpu-4/v4"
    write_preset("tiny", root / path, name="Thinker-generic-cpu:4", seed=4)
    facts = _facts("Thinker-generic-cpu", "4", alias="thinker", publisher=_PUBLISHER, license="apache-2.0")
    facts |= {"can_reason": True, "max_output_tokens": 1024}
    return Expectation(path=path, facts=facts, answers=True)


def _unusual_names(root: Path) -> tuple[Expectation, ...]:
    base = root / _PUBLISHER
    lower = write_preset("tiny", base / "lower-generic-cpu-1/v1", seed=11)
    write_json(lower / "inference_model.json", {"name": "lower-generic-cpu:1", "promptTemplate": None})
    marked = write_preset("tiny", base / "marked-generic-cpu-1/v1", seed=12)
    declared = json.dumps({"Name": "marked-generic-cpu:1"}).encode()
    (marked / "inference_model.json").write_bytes(codecs.BOM_UTF8 + declared)
    write_preset("tiny", base / "unnamed-generic-cpu-3/v3", seed=13)
    broken = write_preset("tiny", base / "broken-generic-cpu-2/v2", seed=14)
    write_text(broken / "inference_model.json", '{"Name": "broken-generic-cpu:2", ')
    return (
        Expectation(path=f"{_PUBLISHER}/lower-generic-cpu-1/v1", facts=_facts("lower-generic-cpu", "1"), answers=True),
        Expectation(
            path=f"{_PUBLISHER}/marked-generic-cpu-1/v1", facts=_facts("marked-generic-cpu", "1"), answers=True
        ),
        Expectation(
            path=f"{_PUBLISHER}/unnamed-generic-cpu-3/v3", facts=_facts("unnamed-generic-cpu", "3"), answers=True
        ),
        Expectation(
            path=f"{_PUBLISHER}/broken-generic-cpu-2/v2",
            facts=_facts("broken-generic-cpu", "2"),
            problems=("inference_model_invalid",),
            answers=True,
        ),
    )


def _brought(root: Path) -> Expectation:
    """A fine-tuned model in a folder of its own, with the template that tutorials tell people to write."""
    folder = write_preset("tiny", root / "custom/my-finetune", seed=15)
    (folder / "chat_template.jinja").unlink()
    declared = {
        "Name": "my-finetune",
        "Description": "Fine-tuned",
        "Version": "1.0",
        "PromptTemplate": _TEMPLATE,
        "ModelConfig": {"max_length": 2048, "temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1},
    }
    write_json(folder / "inference_model.json", declared)
    facts = _facts("my-finetune", "0", tasks=TEXT_TASKS)
    return Expectation(path="custom/my-finetune", facts=facts, answers=True)


def _unusable(root: Path) -> tuple[Expectation, ...]:
    base = root / _PUBLISHER
    write_preset("tiny", base / "half-generic-cpu-1/v1", name="half-generic-cpu:1", seed=16)
    (base / "half-generic-cpu-1/download.tmp").touch()
    resumed = write_preset("tiny", base / "resumed-generic-cpu-1/v1", name="resumed-generic-cpu:1", seed=17)
    (resumed / "model.onnx.dlstate").write_bytes(bytes(64))
    (base / "begun-generic-cpu-1").mkdir()
    (base / "begun-generic-cpu-1/download.tmp").touch()
    bare = base / "bare-generic-cpu-1/v1"
    bare.mkdir(parents=True)
    write_json(bare / "inference_model.json", {"Name": "bare-generic-cpu:1"})
    return (
        Expectation(path=f"{_PUBLISHER}/half-generic-cpu-1/v1", status="partial", problems=("unfinished",)),
        Expectation(path=f"{_PUBLISHER}/resumed-generic-cpu-1/v1", status="partial", problems=("unfinished",)),
        Expectation(path=f"{_PUBLISHER}/begun-generic-cpu-1", status="partial", problems=("unfinished",)),
        Expectation(path=f"{_PUBLISHER}/bare-generic-cpu-1/v1", status="invalid", problems=("genai_config_missing",)),
    )


def _facts(name: str, version: str, **more: Any) -> dict[str, Any]:
    return {**tiny_facts(), "name": name, "version": version, **more}


def _write_catalog(root: Path) -> None:
    models = [_entry("Tiny", version, "MIT", maxOutputTokens=512, supportsToolCalling=True) for version in (1, 2)]
    thinks = {"supportsReasoning": True, "reasoningStart": "<think>", "reasoningEnd": "</think>"}
    calls = {"supportsToolCalling": True, "toolCallStart": "<tool_call>", "toolCallEnd": "</tool_call>"}
    models.append(_entry("Thinker", 4, "apache-2.0", maxOutputTokens=1024, **thinks, **calls))
    models.append({"id": 5, "alias": ["not", "text"]})
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "foundry.modelinfo.json", {"version": 1, "savedAtUnix": 1_760_000_000, "models": models})


def _entry(base: str, version: int, licence: str, **more: Any) -> dict[str, Any]:
    name = f"{base}-generic-cpu"
    return {
        "id": f"{name}:{version}",
        "name": name,
        "version": version,
        "alias": base.lower(),
        "displayName": name,
        "publisher": _PUBLISHER,
        "license": licence,
        "task": "chat-completion",
        "modelType": "ONNX",
        "providerType": "AzureFoundry",
        "uri": f"azureml://registries/azureml/models/{name}/versions/{version}",
        "fileSizeMb": 1,
        "promptTemplate": None,
        "runtime": {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"},
        **more,
    }
