"""What is read from a folder beyond what every model has: each fact from its own place, each guess noted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from registry.layouts.foundry import Catalog, CatalogEntry
from registry.layouts.hub import HubRevision
from registry.model import Device, ExecutionProvider, Markers, Modality, Model, Precision, Source, Task
from registry.reading.card import card_of
from registry.reading.folder import Surroundings, read_model_folder
from registry.reading.languages import language_of

THINK = Markers("<think>", "</think>")
TOOL_CALL = Markers("<tool_call>", "</tool_call>")


def read(folder: Path, entry: CatalogEntry | None = None) -> Model:
    catalog = Catalog({"phi:1": entry} if entry else {})
    return read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER, catalog))


def with_template(folder: Path, text: str) -> Path:
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    return folder


def with_graph(folder: Path, *nodes: Any, inputs: Any = (), outputs: Any = (), tensors: Any = ()) -> Path:
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"]), *nodes], "g", inputs, outputs, tensors)
    (folder / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return folder


def value(name: str, *dims: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


# -- reasoning and tools


@pytest.mark.parametrize(
    ("template", "can_reason", "markers"),
    [
        ("{% if enable_thinking %}<think>\n\n</think>{% endif %}{{ messages }}", True, THINK),
        ("{{ message.content.split('</think>')[-1] }}", True, THINK),
        ("{{ messages }}<|channel|>analysis<|message|>...<|end|>", True, None),
        ("{% if message.reasoning_content %}{% endif %}", True, None),
        ("[THINK]{{ thought }}[/THINK]", True, Markers("[THINK]", "[/THINK]")),
        (
            "Write after 'Here is my thought process:' and then after 'Here is my response:'. {{ messages }}",
            True,
            Markers("Here is my thought process:", "Here is my response:"),
        ),
        ("{{ messages }} I think, therefore", False, None),
    ],
)
def test_a_template_that_knows_of_thoughts_is_evidence(
    template: str, can_reason: bool, markers: Markers | None, tmp_path: Path, place_model: Any
) -> None:
    model = read(with_template(place_model(tmp_path / "m"), template))
    assert model.can_reason is can_reason
    assert ("can_reason" in model.evidence) is can_reason
    if markers is not None:
        assert model.reasoning_markers == markers


@pytest.mark.parametrize(
    ("template", "markers"),
    [
        ("{{ tools }}<tool_call>{}</tool_call>", TOOL_CALL),
        ("{{ tools }}<|tool_call|>[]<|/tool_call|>", Markers("<|tool_call|>", "<|/tool_call|>")),
        ("{{ tools }} <tool_call> only", None),
    ],
)
def test_a_template_shows_the_signs_around_a_tool_call(
    template: str, markers: Markers | None, tmp_path: Path, place_model: Any
) -> None:
    model = read(with_template(place_model(tmp_path / "m"), template))
    assert model.tool_markers == markers
    assert model.evidence.get("tool_markers") == (None if markers is None else "chat template")


def test_tokens_named_in_the_configuration_go_before_the_template(tmp_path: Path, place_model: Any) -> None:
    tokens = {"bot_token_id": 5, "eot_token_id": 6, "bor_token_id": 7, "eor_token_id": 8}
    folder = with_template(place_model(tmp_path / "m", config={"model": tokens}), "{{ tools }}<tool_call></tool_call>")
    added = {"5": {"content": "<call>"}, "6": {"content": "</call>"}, "7": {"content": "<t>"}, "x": 1, "8": {}}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}), encoding="utf-8")
    model = read(folder)
    assert model.tool_markers == Markers("<call>", "</call>")
    assert "tool_markers" not in model.evidence
    assert (model.can_reason, model.reasoning_markers) == (True, None)


def test_the_catalog_goes_before_everything_else(tmp_path: Path, place_model: Any) -> None:
    entry = CatalogEntry(
        supports_reasoning=False,
        tool_markers=Markers("[a]", "[b]"),
        reasoning_markers=Markers("[c]", "[d]"),
        max_output_tokens=512,
        device=Device.NPU,
        execution_provider=ExecutionProvider.QNN,
    )
    folder = with_template(place_model(tmp_path / "m", name="phi:1"), "<think></think>{{ messages }}")
    model = read(folder, entry)
    assert (model.can_reason, model.max_output_tokens) == (False, 512)
    assert (model.tool_markers, model.reasoning_markers) == (entry.tool_markers, entry.reasoning_markers)
    assert (model.execution_provider, model.device) == (ExecutionProvider.QNN, Device.NPU)
    assert model.evidence["execution_provider"] == "Foundry's catalog"


def test_a_broken_tokenizer_configuration_does_not_cost_a_template_of_its_own(tmp_path: Path, place_model: Any) -> None:
    folder = with_template(place_model(tmp_path / "m"), "{{ messages }}")
    (folder / "tokenizer_config.json").write_text("{", encoding="utf-8")
    model = read(folder)
    assert model.has_chat_template
    assert [problem.code for problem in model.problems] == ["tokenizer_config_invalid"]


# -- what goes in, and what comes out


@pytest.mark.parametrize(
    ("model_type", "parts", "modalities"),
    [
        ("phi4mm", ("vision", "speech"), (Modality.TEXT, Modality.IMAGE, Modality.AUDIO)),
        ("gemma3", ("vision",), (Modality.TEXT, Modality.IMAGE)),
        ("lfm2_audio", ("encoder",), (Modality.TEXT, Modality.AUDIO)),
        ("qwen2", (), (Modality.TEXT,)),
        ("whisper", ("encoder",), (Modality.AUDIO,)),
        ("nemotron_speech", ("encoder", "joiner"), (Modality.AUDIO,)),
    ],
)
def test_parts_tell_what_a_model_takes_in(
    model_type: str, parts: tuple[str, ...], modalities: tuple[Modality, ...], tmp_path: Path, place_model: Any
) -> None:
    config = {"type": model_type} | {part: {"filename": "model.onnx"} for part in parts}
    model = read(place_model(tmp_path / "m", config={"model": config}))
    assert model.modalities == modalities
    assert (Task.VISION in model.tasks) is (Modality.IMAGE in modalities)


def test_a_decoder_that_gives_a_vector_makes_embeddings(tmp_path: Path, place_model: Any) -> None:
    folder = with_graph(place_model(tmp_path / "m"), outputs=[value("sentence_embedding", "b", 384)])
    model = read(folder)
    assert (model.tasks, model.evidence["tasks"]) == ((Task.EMBEDDINGS,), "the graph gives a vector")
    both = [value("last_hidden_state", "b", "s", 8), value("logits", "b", "s", 320)]
    assert Task.CHAT in read(with_graph(folder, outputs=both)).tasks


# -- sizes


def test_active_parameters_of_a_mixture_of_experts(tmp_path: Path, place_model: Any) -> None:
    experts = [numpy_helper.from_array(np.ones((4, 8, 8), np.float16), name) for name in ("fc1", "fc2")]
    node = helper.make_node("MoE", ["x", "r", "fc1", "", "fc2"], ["z"], domain="com.microsoft", k=1)
    model = read(with_graph(place_model(tmp_path / "m"), node, tensors=experts))
    assert (model.parameters, model.active_parameters) == (512, 128)
    assert read(place_model(tmp_path / "dense")).active_parameters is None


def test_a_mixture_of_types_says_its_shares(tmp_path: Path, place_model: Any) -> None:
    tensors = [
        numpy_helper.from_array(np.ones((70, 10), np.int8), "a"),
        numpy_helper.from_array(np.ones((30, 10), np.float16), "b"),
    ]
    model = read(with_graph(place_model(tmp_path / "m"), tensors=tensors))
    assert model.precision is Precision.INT8
    assert model.evidence["precision"] == "the largest part of a mixture: 70% int8, 30% fp16"


def test_the_sliding_window_of_the_configuration_or_of_the_attention_nodes(tmp_path: Path, place_model: Any) -> None:
    nodes = [helper.make_node("GroupQueryAttention", ["q"], ["a"], local_window_size=size) for size in (512, -1, 512)]
    folder = with_graph(place_model(tmp_path / "m"), *nodes)
    model = read(folder)
    assert model.sliding_window == 512
    assert model.evidence["sliding_window"] == "2 of 3 attention nodes have one"
    config = {"model": {"decoder": {"sliding_window": {"window_size": 262, "layers": [0, 2]}}}}
    configured = read(place_model(tmp_path / "c", config=config))
    assert configured.sliding_window == 262
    assert "2 layers keep only" in configured.evidence["kv_bytes_per_token"]


def test_a_hybrid_model_keeps_tokens_in_its_attention_layers_only(tmp_path: Path, place_model: Any) -> None:
    types = ["conv", "full_attention", "linear_attention", "sliding_attention"]
    decoder = {"layer_types": types, "num_hidden_layers": 4, "num_key_value_heads": 2, "head_size": 16}
    folder = with_graph(place_model(tmp_path / "m", config={"model": {"decoder": decoder}}))
    model = read(folder)
    assert (model.kv_bytes_per_token, model.kv_precision) == (2 * 2 * 2 * 16 * 4, Precision.FP32)
    inputs = [value(f"past_key_values.1.{part}", "b", 2, "s", 16) for part in ("key", "value")]
    inputs.append(value("past_key_values.0.conv_state", "b", 64, 3))
    assert read(with_graph(folder, inputs=inputs)).kv_bytes_per_token == 2 * 2 * 16 * 4


def test_layers_in_state_groups_count_too(tmp_path: Path, place_model: Any) -> None:
    groups = [{"kind": "fixed_conv", "layer_ids": [0, 1]}, {"kind": "paged_kv", "layer_ids": [2]}]
    decoder = {"state_groups": groups, "num_hidden_layers": 3, "num_key_value_heads": 2, "head_size": 16}
    folder = with_graph(place_model(tmp_path / "m", config={"model": {"decoder": decoder}}))
    assert read(folder).kv_bytes_per_token == 1 * 2 * 2 * 16 * 4


def test_a_model_that_engines_batch_is_told(tmp_path: Path, place_model: Any) -> None:
    assert not read(place_model(tmp_path / "m")).is_paged
    engine = {"engine": {"dynamic_batching": {"block_size": 256}}}
    assert read(place_model(tmp_path / "e", config=engine)).is_paged


@pytest.mark.parametrize(("search", "max_length"), [({"max_length": 99}, 99), ({"max_length": 0}, None)])
def test_max_length_is_what_the_engine_is_asked_to_reserve(
    search: dict[str, int], max_length: int | None, tmp_path: Path, place_model: Any
) -> None:
    assert read(place_model(tmp_path / "m", config={"search": search})).max_length == max_length


# -- what is beside the model


def test_adapters_are_listed(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "adapters").mkdir()
    for name in ("adapters/b.onnx_adapter", "adapter_model.onnx_adapter"):
        (folder / name).touch()
    assert read(folder).adapters == ("adapter_model.onnx_adapter", "adapters/b.onnx_adapter")


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\ntags: [a]\n---\n# Phi", "apache-2.0"),
        ("---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("# Phi\nlicense: mit\n---\n", None),
        ("---\nlicense:\n- mit\n---\n", None),
        ("\xff", None),
    ],
)
def test_the_license_of_a_model_card(card: str, license: str | None, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "README.md").write_bytes(card.encode("latin-1"))
    model = read(folder)
    assert (model.license, model.evidence.get("license")) == (license, "README.md" if license else None)


@pytest.mark.parametrize(
    ("settings", "languages"),
    [
        ("language: en", ("en",)),
        ("license: mit\nlanguage: [en, de , 'fr']\ntags:\n- it", ("en", "de", "fr")),
        ("language: [en,\n  de,\n  fr\n]\ntags: [it]", ("en", "de", "fr")),
        ("language:\n- en\n- pt-BR\n- zh-Hans\n- eng\ntags:\n- it", ("en", "pt", "zh")),
        ('language:\r\n  - ger # German\r\n  - "no"\r\n\r\n  - cmn_Hans\r\nlicense: mit', ("de", "no", "zh")),
        ("language: multilingual", ()),
        ("language:\n- code\n- qq\n- English\n- en", ("en",)),
        ("languages: en", ()),
        ("text: |\n  language: en", ()),
        ("language:", ()),
        ("language: [en", ("en",)),
        ("license: mit", ()),
    ],
)
def test_the_languages_of_a_model_card(
    settings: str, languages: tuple[str, ...], tmp_path: Path, place_model: Any
) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "README.md").write_bytes(f"---\n{settings}\n---\n# en\nlanguage: fr".encode())
    model = read(folder)
    assert model.languages == languages
    assert model.evidence.get("languages") == ("README.md" if languages else None)


@given(st.text(st.sampled_from("language:[]-,# \n'\"endfrqm_"), max_size=60))
@example("[" * 60)
def test_whatever_stands_in_a_card_gives_codes_of_languages_once_each(text: str) -> None:
    """Of a card that is cut off, too: nothing is required of it."""
    languages = card_of(f"---\nlanguage:{text}\n---").languages
    assert len(set(languages)) == len(languages)
    assert all(language_of(each) == each and len(each) == 2 for each in languages)


@pytest.mark.parametrize(
    ("name", "model_type", "vocab_size", "card", "languages"),
    [
        ("whisper-tiny.en", "whisper", None, "", ("en",)),
        ("whisper-base.en-generic-cpu", "whisper", None, "", ("en",)),
        ("whisper-tiny", "whisper", 51864, "", ("en",)),
        ("whisper-tiny", "whisper", 51865, "", ()),
        ("whisper-tiny.en", "whisper", 51864, "---\nlanguage: [en, de]\n---\n", ("en", "de")),
        ("whisper.enormous", "whisper", None, "", ()),
        ("phi.en", "phi3", 51864, "", ()),
    ],
)
def test_a_whisper_for_english_only_says_so(
    name: str,
    model_type: str,
    vocab_size: int | None,
    card: str,
    languages: tuple[str, ...],
    tmp_path: Path,
    place_model: Any,
) -> None:
    config = {"model": {"type": model_type, "vocab_size": vocab_size}}
    folder = place_model(tmp_path / "m", name=f"{name}:1", config=config)
    (folder / "README.md").write_text(card, encoding="utf-8")
    assert read(folder).languages == languages


def test_a_switch_for_thinking_is_told_with_where_it_was_found(tmp_path: Path, place_model: Any) -> None:
    folder = with_template(place_model(tmp_path / "m"), "{% if enable_thinking %}{% endif %}{{ messages }}")
    model = read(folder)
    assert (model.has_thinking_switch, model.can_reason) == (True, True)
    assert model.evidence["has_thinking_switch"] == "chat template"
    without = read(with_template(folder, "<think></think>{{ messages }}"))
    assert (without.has_thinking_switch, without.can_reason) == (False, True)
    assert "has_thinking_switch" not in without.evidence


def test_the_hub_gives_its_names(tmp_path: Path, place_model: Any) -> None:
    repository = tmp_path / "models--acme--phi"
    revision = HubRevision("acme/phi", "a" * 40, ("main",), repository)
    folder = place_model(revision.snapshot)
    model = read_model_folder(folder, Surroundings(tmp_path, Source.HUGGING_FACE, hub=revision))
    assert (model.publisher, model.refs, model.alias) == ("acme", ("main",), "phi")


def test_two_copies_have_one_content_and_two_models_have_not(tmp_path: Path, place_model: Any) -> None:
    first, copy = read(place_model(tmp_path / "a")), read(place_model(tmp_path / "b"))
    other = read(place_model(tmp_path / "c", config={"search": {"max_length": 7}}))
    assert first.content == copy.content != other.content


def test_a_tokenizer_in_a_folder_of_its_own_is_found(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m", config={"model": {"tokenizer_dir": "tok"}})
    (folder / "tok").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.move(folder / name, folder / "tok" / name)
    assert read(folder).has_chat_template
