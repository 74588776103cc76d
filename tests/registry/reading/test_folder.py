from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import InvalidModelFolder
from registry.layouts.foundry import read_catalog
from registry.model import Device, ExecutionProvider, Model, Precision, Source, Task
from registry.reading.folder import Surroundings, read_model_folder
from scripts.model_factory import Quantization, write_preset

TEXT = (Task.CHAT, Task.CODE, Task.REASONING, Task.MATH)
IM_TEMPLATE = {"prompt": "<|im_start|>user\n{Content}<|im_end|>\n<|im_start|>assistant"}


def read(folder: Path) -> Model:
    return read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER))


def refusal(folder: Path) -> InvalidModelFolder:
    with pytest.raises(InvalidModelFolder) as caught:
        read(folder)
    return caught.value


def test_a_factory_model_is_understood(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "phi", quantization=Quantization(4, 32), name="phi-x-generic-cpu:3")
    model = read(folder)
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
    decoder = config["decoder"]
    assert (model.id, model.alias) == ("phi-x-generic-cpu:3", "phi-x")
    assert model.family == "qwen"
    assert model.precision is Precision.INT4
    assert model.accuracy_level == 4
    assert (model.execution_provider, model.device) == (ExecutionProvider.CPU, Device.CPU)
    assert model.context_tokens == config["context_length"]
    assert model.vocab_size == config["vocab_size"]
    assert model.kv_bytes_per_token == (
        decoder["num_hidden_layers"] * 2 * decoder["num_key_value_heads"] * decoder["head_size"] * 4
    )
    assert model.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    weights = [path for path in folder.iterdir() if path.name.startswith("model.onnx")]
    assert model.weight_bytes == sum(path.stat().st_size for path in weights)
    assert model.tasks[:4] == TEXT
    assert model.problems == ()


def test_provider_options_decide_over_the_name(tmp_path: Path, place_model: Any) -> None:
    options = {"model": {"decoder": {"session_options": {"provider_options": [{"cuda": {"enable_cuda_graph": "0"}}]}}}}
    model = read(place_model(tmp_path / "m", name="phi-generic-cpu:1", config=options))
    assert model.execution_provider is ExecutionProvider.CUDA


def test_an_unknown_provider_is_said(tmp_path: Path, place_model: Any) -> None:
    options: dict[str, Any] = {"model": {"decoder": {"session_options": {"provider_options": [{"warp": {}}]}}}}
    model = read(place_model(tmp_path / "m", config=options))
    assert model.execution_provider is ExecutionProvider.UNKNOWN
    assert [problem.code for problem in model.problems] == ["unknown_execution_provider"]


def test_openvino_runs_where_its_options_say(tmp_path: Path, place_model: Any) -> None:
    options = {"model": {"decoder": {"session_options": {"provider_options": [{"OpenVINO": {"device_type": "NPU"}}]}}}}
    assert read(place_model(tmp_path / "m", config=options)).device is Device.NPU


@pytest.mark.parametrize("key", ["Name", "name", "NAME"])
def test_the_name_counts_in_any_case_and_behind_a_byte_order_mark(key: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "inference_model.json").write_text(json.dumps({key: "phi:7"}), encoding="utf-8-sig")
    assert read(folder).id == "phi:7"


def test_a_broken_inference_model_only_costs_the_name(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "my-phi")
    (folder / "inference_model.json").write_text("{", encoding="utf-8")
    model = read(folder)
    assert model.id == "my-phi:0"
    assert model.problems[0].code == "inference_model_invalid"
    assert model.evidence["name"] == "folder name"


def test_the_catalog_enriches(tmp_path: Path, place_model: Any) -> None:
    entry = {"id": "Phi-generic-cpu:1", "alias": "phi", "publisher": "Microsoft", "license": "MIT", "task": "chat"}
    (tmp_path / "foundry.modelinfo.json").write_text(json.dumps({"models": [entry]}), encoding="utf-8")
    folder = place_model(tmp_path / "m", name="phi-generic-cpu:1")
    model = read_model_folder(folder, Surroundings(tmp_path, Source.FOUNDRY, read_catalog(tmp_path)))
    assert (model.alias, model.publisher, model.license) == ("phi", "Microsoft", "MIT")
    assert model.fingerprint != read(folder).fingerprint


# -- tasks


def _without_template(folder: Path) -> Path:
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("chat_template", None)
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def _rename_token(folder: Path, token: str, name: str) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace(token, name), encoding="utf-8")


def test_a_text_model_without_template_offers_nothing_and_says_so(tmp_path: Path, place_model: Any) -> None:
    folder = _without_template(place_model(tmp_path / "m"))
    _rename_token(folder, "<|im_start|>", "<|unheard-of|>")
    model = read(folder)
    assert (model.tasks, model.chat_template) == ((), None)
    assert [problem.code for problem in model.problems] == ["no_chat_template"]


def test_a_text_model_without_template_can_chat_in_the_format_that_its_tokens_prove(
    tmp_path: Path, place_model: Any
) -> None:
    model = read(_without_template(place_model(tmp_path / "m")))
    assert (model.tasks, model.chat_template) == (TEXT, "family default: chatml")
    assert not model.has_chat_template
    assert model.evidence["tasks"] == "special tokens"
    (problem,) = model.problems
    assert problem.code == "no_chat_template"
    assert "format chatml" in problem.message and "copy chat_template.jinja" in problem.message


def test_a_prompt_template_is_enough(tmp_path: Path, place_model: Any) -> None:
    folder = _without_template(place_model(tmp_path / "m"))
    declared = {"Name": "m:1", "PromptTemplate": IM_TEMPLATE}
    (folder / "inference_model.json").write_text(json.dumps(declared), encoding="utf-8")
    model = read(folder)
    assert (model.tasks, model.chat_template) == (TEXT, "inference_model.json")
    assert "tasks" in model.evidence


def test_a_prompt_template_without_a_users_turn_is_none(tmp_path: Path, place_model: Any) -> None:
    folder = _without_template(place_model(tmp_path / "m"))
    declared = {"Name": "m:1", "PromptTemplate": {"system": "{Content}", "assistant": "{Content}"}}
    (folder / "inference_model.json").write_text(json.dumps(declared), encoding="utf-8")
    assert read(folder).chat_template == "family default: chatml"


@pytest.mark.parametrize(
    ("template", "handles_tools"),
    [
        ("{% if tools %}{{ tools | tojson }}{% endif %}{{ messages }}", True),
        ("{%- for tool in tools -%}{%- endfor -%}", True),
        ("You have no tools. {{ messages }}", False),
    ],
)
def test_tools_are_offered_where_the_template_uses_them(
    template: str, handles_tools: bool, tmp_path: Path, place_model: Any
) -> None:
    folder = _without_template(place_model(tmp_path / "m"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    assert (Task.TOOLS in read(folder).tasks) is handles_tools


def test_named_templates_in_the_tokenizer_configuration_count(tmp_path: Path, place_model: Any) -> None:
    folder = _without_template(place_model(tmp_path / "m"))
    templates = [{"name": "default", "template": "{{ messages }}"}, {"name": "tool_use", "template": "{{ tools }}"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}), encoding="utf-8")
    assert read(folder).tasks == (*TEXT, Task.TOOLS)


def test_a_vision_part_offers_vision(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m", config={"model": {"type": "phi3v", "vision": {"filename": "vision.onnx"}}})
    shutil.copy(folder / "model.onnx", folder / "vision.onnx")
    model = read(folder)
    assert Task.VISION in model.tasks
    assert model.family == "phi"


@pytest.mark.parametrize(
    ("model_type", "tasks"),
    [("whisper", (Task.TRANSCRIPTION,)), ("bert", (Task.EMBEDDINGS,)), ("marian-ssru", ())],
)
def test_the_type_decides_what_is_no_text_decoder(
    model_type: str, tasks: tuple[Task, ...], tmp_path: Path, place_model: Any
) -> None:
    assert read(place_model(tmp_path / "m", config={"model": {"type": model_type}})).tasks == tasks


# -- what is refused


@pytest.mark.parametrize("leftover", ["download.tmp", "model.onnx.data.dlstate", "x.incomplete", "model.onnx.part"])
def test_unfinished_folders_are_refused(leftover: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / leftover).touch()
    error = refusal(folder)
    assert (error.code, error.file) == ("unfinished", leftover)


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("genai_config.json", "genai_config_missing"),
        ("model.onnx", "graph_missing"),
        ("tokenizer.json", "tokenizer_missing"),
    ],
)
def test_a_missing_file_is_named(missing: str, code: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / missing).unlink()
    error = refusal(folder)
    assert (error.code, error.file) == (code, missing)


@pytest.fixture
def external_model(tmp_path: Path) -> Path:
    return write_preset("small", tmp_path / "small")


def test_missing_external_data_is_refused(external_model: Path) -> None:
    (external_model / "model.onnx.data").unlink()
    error = refusal(external_model)
    assert (error.code, error.file) == ("external_data_missing", "model.onnx.data")


def test_external_data_one_byte_short_is_refused_with_both_numbers(external_model: Path) -> None:
    data = external_model / "model.onnx.data"
    size_bytes = data.stat().st_size
    os.truncate(data, size_bytes - 1)
    error = refusal(external_model)
    assert error.code == "external_data_too_short"
    assert str(size_bytes - 1) in error.message
    assert str(size_bytes) in error.message


def test_external_data_outside_the_folder_is_refused(external_model: Path) -> None:
    graph = external_model / "model.onnx"
    shutil.copy(external_model / "model.onnx.data", external_model.parent / "el.onnx.data")
    graph.write_bytes(graph.read_bytes().replace(b"model.onnx.data", b"../el.onnx.data"))
    assert refusal(external_model).code == "path_leaves_folder"


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "C:\\model.onnx", "a/../../model.onnx", "\\\\h\\s\\m"]
)
def test_a_graph_outside_the_folder_is_refused(name: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m", config={"model": {"decoder": {"filename": name}}})
    assert refusal(folder).code == "path_leaves_folder"


def test_a_custom_operator_library_is_refused(tmp_path: Path, place_model: Any) -> None:
    options = {"model": {"decoder": {"session_options": {"custom_ops_library": "./evil.so"}}}}
    error = refusal(place_model(tmp_path / "m", config=options))
    assert error.code == "custom_ops_library"
    assert "evil.so" in error.message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("file", ["genai_config.json", "model.onnx"])
def test_a_pipe_in_place_of_a_file_is_refused_without_waiting(file: str, tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert refusal(folder).code == "unreadable"


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m", config={"model": {"decoder": {"filename": "x" * 300}}})
    assert refusal(folder).code == "graph_missing"


@pytest.mark.skipif(os.name == "nt", reason="links need privileges")
def test_links_that_lead_nowhere_do_not_matter(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "dangling").symlink_to("gone")
    (folder / "loop").symlink_to("loop")
    assert read(folder).problems == ()


def test_files_in_folders_inside_a_model_belong_to_it(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m", config={"model": {"decoder": {"filename": "onnx/model.onnx"}}})
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    before = read(folder)
    assert before.weight_bytes == (folder / "onnx" / "model.onnx").stat().st_size
    os.utime(folder / "onnx" / "model.onnx", ns=(1, 1))
    assert read(folder).fingerprint != before.fingerprint


def test_hard_links_count_once(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m", config={"model": {"vision": {"filename": "vision.onnx"}}})
    once = read_weight_bytes(folder, link=shutil.copy)
    (folder / "vision.onnx").unlink()
    assert read_weight_bytes(folder, link=os.link) == once - (folder / "model.onnx").stat().st_size


def read_weight_bytes(folder: Path, link: Any) -> int:
    link(folder / "model.onnx", folder / "vision.onnx")
    return read(folder).weight_bytes


# -- nothing but InvalidModelFolder comes out

_json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_config_paths = st.sampled_from(
    [
        ("model",),
        ("search",),
        ("model", "type"),
        ("model", "context_length"),
        ("model", "vocab_size"),
        ("model", "vision"),
        ("model", "decoder"),
        ("model", "decoder", "filename"),
        ("model", "decoder", "pipeline"),
        ("model", "decoder", "head_size"),
        ("model", "decoder", "num_hidden_layers"),
        ("model", "decoder", "session_options"),
        ("model", "decoder", "session_options", "provider_options"),
    ]
)
_relaxed = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read_or_refuse(folder: Path) -> None:
    try:
        model = read(folder)
    except InvalidModelFolder as error:
        assert error.message.endswith(".")
        error.message.encode()
        return
    model.id.encode()
    assert 0 <= model.kv_bytes_per_token < 2**63
    assert 0 < model.context_tokens < 2**63


@pytest.fixture(scope="module")
def scratch_model(tmp_path_factory: pytest.TempPathFactory, model_template: Path) -> Path:
    folder = tmp_path_factory.mktemp("hypothesis") / "m"
    shutil.copytree(model_template, folder)
    return folder


@_relaxed
@given(where=_config_paths, value=_json_values)
def test_any_value_in_genai_config_is_read_or_refused(
    where: tuple[str, ...], value: Any, scratch_model: Path, model_template: Path
) -> None:
    config = json.loads((model_template / "genai_config.json").read_text(encoding="utf-8"))
    parent = config
    for key in where[:-1]:
        parent = parent[key]
    parent[where[-1]] = value
    (scratch_model / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    _read_or_refuse(scratch_model)


@_relaxed
@given(
    content=st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b"1" * 5000, b'{"model": "\\ud800"}', b"null"])
)
def test_any_bytes_in_genai_config_are_refused(content: bytes, scratch_model: Path) -> None:
    (scratch_model / "genai_config.json").write_bytes(content)
    assert refusal(scratch_model).code == "genai_config_invalid"


@_relaxed
@given(name=_json_values, template=_json_values)
def test_any_inference_model_is_read(name: Any, template: Any, scratch_model: Path, model_template: Path) -> None:
    shutil.copy(model_template / "genai_config.json", scratch_model)
    declared = json.dumps({"Name": name, "PromptTemplate": template})
    (scratch_model / "inference_model.json").write_text(declared, encoding="utf-8")
    assert read(scratch_model).tasks
    (scratch_model / "inference_model.json").unlink()


@_relaxed
@given(value=_json_values)
def test_any_tokenizer_configuration_is_read(value: Any, scratch_model: Path, model_template: Path) -> None:
    shutil.copy(model_template / "genai_config.json", scratch_model)
    (scratch_model / "chat_template.jinja").unlink(missing_ok=True)
    (scratch_model / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}), encoding="utf-8")
    _read_or_refuse(scratch_model)


@_relaxed
@given(position=st.integers(0, 4000), garbage=st.binary(min_size=1, max_size=12))
def test_any_damage_to_a_graph_is_read_or_refused(
    position: int, garbage: bytes, scratch_model: Path, model_template: Path
) -> None:
    shutil.copy(model_template / "genai_config.json", scratch_model)
    content = bytearray((model_template / "model.onnx").read_bytes())
    content[position : position + len(garbage)] = garbage
    (scratch_model / "model.onnx").write_bytes(content)
    _read_or_refuse(scratch_model)


def test_a_byte_order_mark_that_the_engine_cannot_read_is_refused(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    config = folder / "genai_config.json"
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    error = refusal(folder)
    assert (error.code, error.file, "without BOM" in error.message) == ("genai_config_invalid", config.name, True)


def test_a_key_that_stands_twice_cannot_hide_what_the_engine_would_read(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    config = folder / "genai_config.json"
    hidden = '{"model": {"decoder": {"session_options": {"custom_ops_library": "evil.so"}}},'
    config.write_text(config.read_text(encoding="utf-8").replace("{", hidden, 1), encoding="utf-8")
    error = refusal(folder)
    assert (error.code, "'model' stands twice" in error.message) == ("genai_config_invalid", True)


def test_a_tokenizer_that_is_no_regular_file_is_refused(tmp_path: Path, place_model: Any) -> None:
    folder = place_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()
    assert refusal(folder).code == "tokenizer_missing"  # a folder is no file at all
    (folder / "tokenizer.json").rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "tokenizer.json")
        error = refusal(folder)
        assert (error.code, error.file) == ("unreadable", "tokenizer.json")
