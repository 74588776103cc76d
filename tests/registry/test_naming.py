from __future__ import annotations

from pathlib import Path

import pytest

from registry.model import Device, ExecutionProvider
from registry.naming import declared_identity, folder_identity, is_export_name


@pytest.mark.parametrize(
    ("declared", "name", "version", "alias"),
    [
        ("Phi-4-mini-instruct-generic-cpu:5", "Phi-4-mini-instruct-generic-cpu", "5", "Phi-4-mini-instruct"),
        ("my-model", "my-model", "0", "my-model"),
        ("org/model:latest", "org/model:latest", "0", "org/model:latest"),
        ("qwen2.5-7b-cuda-gpu:12", "qwen2.5-7b-cuda-gpu", "12", "qwen2.5-7b"),
        ("a:b:3", "a:b", "3", "a:b"),
    ],
)
def test_a_declared_name_is_name_version_and_alias(declared: str, name: str, version: str, alias: str) -> None:
    identity = declared_identity(declared)
    assert identity is not None
    assert (identity.name, identity.version, identity.alias) == (name, version, alias)


@pytest.mark.parametrize("declared", ["", "  ", "two\nlines", "x" * 201])
def test_what_cannot_be_typed_is_no_name(declared: str) -> None:
    assert declared_identity(declared) is None


@pytest.mark.parametrize(
    ("below", "name", "version"),
    [
        ("phi-4", "phi-4", "0"),
        ("phi-4/onnx", "phi-4", "0"),
        ("phi-4/onnx/model", "phi-4", "0"),
        ("Phi-3-mini/cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4", "Phi-3-mini", "0"),
        ("Microsoft/Phi-4-mini-instruct-generic-cpu-5/v5", "Phi-4-mini-instruct-generic-cpu", "5"),
        ("my-model/v2", "my-model", "2"),
        ("onnx", "onnx", "0"),
        ("", "models", "0"),
    ],
)
def test_a_folder_is_named_by_the_nearest_telling_part_of_its_path(below: str, name: str, version: str) -> None:
    root = Path("/data/models")
    identity = folder_identity(root / below, root)
    assert (identity.name, identity.version) == (name, version)


@pytest.mark.parametrize("name", ["onnx", "output", "v3", "cpu-int4-rtn-block-32-acc-level-4", "cuda-fp16", "gpu"])
def test_export_names_say_nothing_about_the_model(name: str) -> None:
    assert is_export_name(name)


@pytest.mark.parametrize("name", ["phi-4", "llama", "qwen2.5-0.5b-int4", "custom"])
def test_other_names_do(name: str) -> None:
    assert not is_export_name(name)


@pytest.mark.parametrize(
    ("name", "provider", "device"),
    [
        ("phi-generic-cpu:1", ExecutionProvider.CPU, Device.CPU),
        ("phi-trt-rtx-gpu:1", ExecutionProvider.TENSORRT_RTX, Device.GPU),
        ("phi-openvino-npu:1", ExecutionProvider.OPENVINO, Device.NPU),
        ("phi-generic-gpu:1", None, Device.GPU),
        ("phi:1", None, None),
    ],
)
def test_foundry_names_say_what_they_run_on(
    name: str, provider: ExecutionProvider | None, device: Device | None
) -> None:
    identity = declared_identity(name)
    assert identity is not None
    assert (identity.provider, identity.device) == (provider, device)
