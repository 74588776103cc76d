from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.layouts.hub import HubRevision
from registry.layouts.naming import declared_identity, folder_identity, is_export_name
from registry.model import Device, ExecutionProvider


@pytest.mark.parametrize(
    ("declared", "name", "version", "alias"),
    [
        ("Phi-4-mini-instruct-generic-cpu:5", "Phi-4-mini-instruct-generic-cpu", "5", "Phi-4-mini-instruct"),
        ("my-model", "my-model", "0", "my-model"),
        ("org/model:latest", "org/model", "0", "org/model"),
        ("qwen2.5-7b-cuda-gpu:12", "qwen2.5-7b-cuda-gpu", "12", "qwen2.5-7b"),
        ("a:b:3", "a-b", "3", "a-b"),
        ("auto", "auto-model", "0", "auto-model"),
        ("-rf:1", "rf", "1", "rf"),
        ("QWEN-Generic-CPU:2", "QWEN-Generic-CPU", "2", "QWEN"),
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
    ("below", "name", "version", "alias"),
    [
        ("phi-4", "phi-4", "0", "phi-4"),
        ("phi-4/onnx", "phi-4", "0", "phi-4"),
        ("phi-4/onnx/model", "phi-4", "0", "phi-4"),
        ("phi-4/output/v2", "phi-4", "2", "phi-4"),
        ("phi-4/3", "phi-4", "3", "phi-4"),
        (
            "Microsoft/Phi-4-mini-instruct-generic-cpu-5/v5",
            "Phi-4-mini-instruct-generic-cpu",
            "5",
            "Phi-4-mini-instruct",
        ),
        ("my-model/v2", "my-model", "2", "my-model"),
        ("onnx", "onnx", "0", "onnx"),
        ("", "models", "0", "models"),
        # variants
        ("phi/cpu-int4", "phi-cpu-int4", "0", "phi"),
        ("phi/cuda-fp16", "phi-cuda-fp16", "0", "phi"),
        ("phi/cpu/int4", "phi-cpu-int4", "0", "phi"),
        ("phi/cuda/int4", "phi-cuda-int4", "0", "phi"),
        ("phi-4-int4-cpu", "phi-4-int4-cpu", "0", "phi-4"),
        ("phi-4-onnx", "phi-4-onnx", "0", "phi-4"),
        ("phi-4-onnx/int8", "phi-4-int8", "0", "phi-4"),
        ("phi-4-cuda/int4/v3", "phi-4-cuda-int4", "3", "phi-4"),
        (
            "Phi-3-mini-4k-instruct-onnx/cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4",
            "Phi-3-mini-4k-instruct-cpu-int4-rtn-block-32-acc-level-4",
            "0",
            "Phi-3-mini-4k-instruct",
        ),
        (
            "Phi-3-mini-4k-instruct-onnx/cpu_and_mobile/cpu-int4-rtn-block-32",
            "Phi-3-mini-4k-instruct-cpu-int4-rtn-block-32",
            "0",
            "Phi-3-mini-4k-instruct",
        ),
        ("phi-cpu-int4-rtn-block-32-acc-level-4", "phi-cpu-int4-rtn-block-32-acc-level-4", "0", "phi"),
        # oddities
        ("x:latest", "x", "0", "x"),
        ("a:b", "a-b", "0", "a-b"),
        ("auto", "auto-model", "0", "auto-model"),
        ("--help", "help", "0", "help"),
        ("tab\there", "tab-here", "0", "tab-here"),
    ],
)
def test_a_folder_is_named_by_the_telling_part_of_its_path_and_its_variant(
    below: str, name: str, version: str, alias: str
) -> None:
    root = Path("/data/models")
    identity = folder_identity(root / below, root)
    assert (identity.name, identity.version, identity.alias) == (name, version, alias)


def test_a_root_that_is_named_after_its_model_gives_its_variants_the_name() -> None:
    assert folder_identity(Path("/data/phi-4/cpu-int4"), Path("/data/phi-4")).name == "phi-4-cpu-int4"


@given(
    below=st.lists(st.text(max_size=30).filter(lambda part: part not in (".", "..") and "/" not in part), max_size=5)
)
def test_any_path_gives_a_name_that_can_stand_in_an_id(below: list[str]) -> None:
    root = Path("/data/models")
    identity = folder_identity(root.joinpath(*below), root)
    for text in (identity.name, identity.alias):
        assert text and text.isprintable() and ":" not in text and text == text.strip()
        assert len(text) <= 200
    assert identity.name.casefold() != "auto"


# -- Hugging Face


def revision(repository: str, commit: str = "0123456789abcdef0123456789abcdef01234567") -> HubRevision:
    return HubRevision(repository, commit, ("main",), Path("/hub") / f"models--{repository.replace('/', '--')}")


@pytest.mark.parametrize(
    ("repository", "below", "model_id", "alias", "publisher"),
    [
        (
            "microsoft/Phi-3-mini-4k-instruct-onnx",
            "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4",
            "Phi-3-mini-4k-instruct-cpu-int4-rtn-block-32-acc-level-4:01234567",
            "Phi-3-mini-4k-instruct",
            "microsoft",
        ),
        ("me/phi-onnx", "", "phi-onnx:01234567", "phi", "me"),
        (
            "onnxruntime/Gemma-3-ONNX",
            "gemma-3-4b-it/gpu/gpu-int4",
            "gemma-3-4b-it-gpu-int4:01234567",
            "gemma-3-4b-it",
            "onnxruntime",
        ),
        ("phi", "onnx", "phi:01234567", "phi", None),
        ("me/phi-generic-cpu-4", "", "phi-generic-cpu:01234567", "phi", "me"),
    ],
)
def test_a_snapshot_is_named_by_its_repository_and_commit(
    repository: str, below: str, model_id: str, alias: str, publisher: str | None
) -> None:
    hub = revision(repository)
    identity = folder_identity(hub.snapshot / below, Path("/hub"), hub)
    assert f"{identity.name}:{identity.version}" == model_id
    assert (identity.alias, identity.publisher) == (alias, publisher)


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
