from __future__ import annotations

import pytest

from selector.model_names import Relation, can_be, index_names, relate
from selector.quality import TABLE

INDEX = index_names(TABLE.models)


@pytest.mark.parametrize(
    ("listed", "spellings"),
    [
        (
            "Phi-4-mini-instruct",
            (
                *("phi-4-mini", "Phi4_mini", "Phi-4-mini-instruct-onnx", "Phi-4-mini-instruct-generic-cpu"),
                "microsoft_Phi-4-mini-instruct-onnx-cpu-int4-rtn-block-32-acc-level-4",
                *("Phi-4-mini-instruct-cuda-gpu-5", "PHI-4-MINI-INSTRUCT-OPENVINO-NPU", "phi-4-mini-instruct-q4f16"),
            ),
        ),
        ("Phi-4", ("phi-4", "phi4", "Phi-4-trtrtx-gpu", "microsoft/phi-4", "phi-4-14b-int4-awq-block-128")),
        ("Phi-4-mini-reasoning", ("Phi-4-mini-reasoning-qnn-npu", "phi4-mini-reasoning")),
        ("Phi-3.5-mini-instruct", ("phi-3-5-mini", "Phi-3.5-mini-instruct-generic-cpu", "phi3.5-mini")),
        ("Phi-3-mini-4k-instruct", ("phi3-mini-4k", "Phi-3-mini-4k-instruct-onnx", "Phi-3-mini-4k-instruct-onnx-web")),
        ("Phi-3-mini-128k-instruct", ("Phi-3-mini-128k-instruct-generic-gpu",)),
        (
            "Qwen2.5-Coder-7B-Instruct",
            ("qwen2.5-coder-7b-instruct-generic-cpu", "qwen2.5-coder-7b", "Qwen_Qwen2.5-Coder-7B-Instruct-AWQ"),
        ),
        ("Qwen2.5-7B-Instruct", ("qwen2.5-7b-instruct-cuda-gpu", "Qwen2_5-7B", "qwen-2.5-7b")),
        (
            "Qwen2.5-0.5B-Instruct",
            ("Qwen2_5-0_5B-Instruct", "qwen2-5-0-5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5:0.5b"),
        ),
        ("Qwen3-0.6B", ("qwen3-0.6b-generic-cpu", "Qwen3-0.6B-ONNX", "qwen3_0.6b")),
        ("Qwen3-4B-Instruct-2507", ("Qwen3-4B-Instruct-2507-ONNX",)),
        ("Qwen3-30B-A3B", ("qwen3-30b-a3b", "qwen3:30b")),
        (
            "DeepSeek-R1-Distill-Qwen-7B",
            ("deepseek-r1-distill-qwen-7b", "deepseek-r1-7b", "DeepSeek-R1-Distill-ONNX-qwen-7B", "deepseek_r1_7b"),
        ),
        ("DeepSeek-R1-Distill-Llama-8B", ("deepseek-ai_DeepSeek-R1-Distill-Llama-8B",)),
        ("Llama-3.1-8B-Instruct", ("Meta-Llama-3.1-8B-Instruct", "llama-3-1-8b-instruct-int4", "llama3.1:8b")),
        ("Llama-3.2-1B-Instruct", ("llama_3_2_1b", "Llama-3.2-1B-Instruct-ONNX", "llama3.2-1b")),
        ("Llama-3.2-3B-Instruct", ("llama-3.2-3b-instruct-web-q4f16", "Llama3.2-3b")),
        ("Gemma-2-2B-it", ("gemma-2-2b-it-onnx", "gemma2-2b", "google/gemma-2-2b-it")),
        ("Gemma-3-1B-it", ("gemma-3-1b-it-ONNX-GQA", "gemma3:1b")),
        (
            "Mistral-7B-Instruct-v0.2",
            ("mistralai-Mistral-7B-Instruct-v0-2-generic-cpu", "mistral-7b-instruct-v0.2-ONNX"),
        ),
        ("SmolLM2-1.7B-Instruct", ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "smollm2-1.7b")),
        ("gpt-oss-20b", ("gpt-oss-20b-cuda-gpu", "openai-gpt-oss-20b", "gptoss-20b")),
        ("whisper-large-v3-turbo", ("openai-whisper-large-v3-turbo-generic-cpu", "whisper_large_v3_turbo")),
        ("whisper-tiny.en", ("openai/whisper-tiny.en", "whisper-tiny-en")),
    ],
)
def test_spellings_in_the_wild_are_the_published_model(listed: str, spellings: tuple[str, ...]) -> None:
    for spelling in (listed, *spellings):
        assert relate(spelling, INDEX).listed == listed, spelling


@pytest.mark.parametrize(
    ("name", "relation"),
    [
        # Of a family, and trained like it: in another size, or for something else.
        ("Qwen2.5-32B-Instruct", Relation(None, "qwen2.5", True)),
        ("Qwen2.5-Math-1.5B-Instruct", Relation(None, "qwen2.5", True)),
        ("qwen2.5-7b-base", Relation(None, "qwen2.5", True)),
        ("Qwen3-Coder-30B-A3B-Instruct", Relation(None, "qwen3", True)),
        ("Phi-3-medium-128k-instruct", Relation(None, "phi-3", True)),
        ("Phi-3-mini", Relation(None, "phi-3", True)),
        ("Phi-4-reasoning-plus", Relation(None, "phi-4", True)),
        ("gemma-3-270m", Relation(None, "gemma-3", True)),
        ("SmolLM2-135M-Instruct", Relation(None, "smollm2", True)),
        ("whisper-tiny", Relation(None, "whisper", True)),
        # Another kind, a later date, or somebody's fine-tune.
        ("Qwen2.5-VL-7B-Instruct", Relation(None, "qwen2.5", False)),
        ("Qwen3-4B-Thinking-2507", Relation(None, "qwen3", False)),
        ("Qwen3-Embedding-0.6B", Relation(None, "qwen3", False)),
        ("Phi-4-multimodal-instruct", Relation(None, "phi-4", False)),
        ("Phi-3.5-MoE-instruct", Relation(None, "phi-3.5", False)),
        ("Hermes-3-Llama-3.1-8B", Relation(None, "llama-3.1", False)),
        ("Llama-3.2-11B-Vision-Instruct", Relation(None, "llama-3.2", False)),
        ("DeepSeek-R1-0528-Qwen3-8B", Relation(None, "deepseek-r1-distill", False)),
        ("distil-whisper-large-v3", Relation(None, "whisper", False)),
    ],
)
def test_relatives_are_their_family_but_not_the_published_model(name: str, relation: Relation) -> None:
    assert relate(name, INDEX) == relation


@pytest.mark.parametrize(
    "name",
    [
        *(
            "qwen2-7b-instruct",
            "Qwen1.5-0.5B",
            "Qwen3.5-2B",
            "Meta-Llama-3-8B-Instruct",
            "llama3-8b",
            "llama-2-7b-chat",
        ),
        *("gemma-2b-it", "gemma-3n-e2b-it", "SmolLM-1.7B", "Mistral-7B-Instruct-v0.3", "Mistral-Nemo-12B", "phi-2"),
        *("TinyLlama-1.1B-Chat", "granite-3.1-2b", "slmreg-demo", "cpu-int4-rtn-block-32-acc-level-4", "model", ""),
        *("dolphin-7b", "xphi-4", "myqwen3-4b", "philosopher-4-mini", "ñandú-7b", "7b", "instruct"),
    ],
)
def test_names_that_only_look_alike_are_nobody(name: str) -> None:
    relation = relate(name, INDEX)
    assert (relation.listed, relation.family) == (None, None)


def test_no_two_published_models_share_a_name() -> None:
    assert {relate(name, INDEX).listed for name in TABLE.models} == set(TABLE.models)


def test_every_listed_family_is_one_that_names_can_say() -> None:
    families = {relate(name, INDEX).family for name in TABLE.models} - {None}
    assert families == set(TABLE.families) - {"mistral"}  # one model: no other of its name was trained like it


@pytest.mark.parametrize(
    ("family", "architecture", "expected"),
    [
        ("llama-3.2", "llama", True),
        ("llama-3.2", "phi", False),
        ("deepseek-r1-distill", "qwen", True),
        ("smollm2", "llama", True),
        ("qwen2.5", "unknown", True),
        ("qwen2.5", "decoder", True),
    ],
)
def test_an_architecture_can_contradict_a_name(family: str, architecture: str, expected: bool) -> None:
    assert can_be(family, architecture) is expected
