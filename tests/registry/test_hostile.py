"""Files that no tool writes: whatever is in them, a folder is a model with coded problems, or refused with a code."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import InvalidModelFolder
from registry.layouts.kinds import Layout
from registry.layouts.unusable import problem_of
from registry.model import Source
from registry.onnx.graph import read_graph
from registry.onnx.protobuf import MalformedProtobuf
from registry.problems import ProblemCode, status_of
from registry.reading.folder import Surroundings, read_model_folder

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["..", "/", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EXTREME = st.sampled_from(
    [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b'{"config": "\\ud800"}', b"null", b"\xef\xbb\xbf{}", b"\0", b""]
)
# Every place in genai_config.json that something is read from.
PLACES = [
    ("model", "decoder", "inputs"),
    ("model", "decoder", "inputs", "past_key_names"),
    ("model", "decoder", "layer_types"),
    ("model", "decoder", "state_groups"),
    ("model", "decoder", "sliding_window"),
    ("model", "decoder", "sliding_window", "layers"),
    ("model", "decoder", "pipeline"),
    ("model", "decoder", "shared_initializers"),
    ("model", "decoder", "session_options", "custom_ops_library"),
    ("model", "decoder", "session_options", "provider_options"),
    ("model", "vision"),
    ("model", "vision", "filename"),
    ("model", "vision", "pipeline"),
    ("model", "moonshine"),
    ("model", "mtp"),
    ("model", "bot_token_id"),
    ("model", "tokenizer_dir"),
    ("engine",),
    ("engine", "dynamic_batching"),
    ("search", "max_length"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_template: Path) -> Path:
    copy = tmp_path_factory.mktemp("hostile") / "output_model"
    shutil.copytree(model_template, copy)
    return copy


def read_or_refuse(folder: Path) -> None:
    try:
        model = read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER, roots=frozenset({folder.parent})))
    except InvalidModelFolder as error:
        is_coded(error)
        return
    model.id.encode()
    assert all(ProblemCode(problem.code) for problem in model.problems)
    assert all(problem.message.encode() for problem in model.problems)
    assert 0 <= model.kv_bytes_per_token < 2**63
    json.dumps(dict(model.evidence)).encode()


def is_coded(error: InvalidModelFolder | None) -> None:
    """Nothing to say is as good as a code and a text that says what to do."""
    if error is None:
        return
    assert status_of(error.code)
    assert error.message.endswith(".") or "slmreg" in error.message or "python -m" in error.message
    error.message.encode()


@relaxed
@given(where=st.sampled_from(PLACES), value=json_values)
def test_any_value_anywhere_in_genai_config(
    where: tuple[str, ...], value: Any, folder: Path, model_template: Path
) -> None:
    config = json.loads((model_template / "genai_config.json").read_text(encoding="utf-8"))
    parent = config
    for key in where[:-1]:
        parent = parent.setdefault(key, {})
    parent[where[-1]] = value
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    read_or_refuse(folder)
    shutil.copy(model_template / "genai_config.json", folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "inference_model.json", "model_config.json", "README.md"])
@relaxed
@given(data=st.data())
def test_any_content_of_a_file_that_is_not_needed_leaves_the_model(
    name: str, data: st.DataObject, folder: Path
) -> None:
    content = data.draw(EXTREME | st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
    (folder / name).write_bytes(content)
    model = read_model_folder(folder, Surroundings(folder.parent, Source.FOLDER))
    (folder / name).unlink()
    assert model.tasks
    assert all(ProblemCode(problem.code) for problem in model.problems)


@relaxed
@given(value=json_values, attributes=json_values, steps=json_values)
def test_any_notes_of_olive(value: Any, attributes: Any, steps: Any, folder: Path) -> None:
    config = {"type": value, "config": {"model_attributes": attributes, "task": value}}
    (folder / "model_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "footprint.json").write_text(json.dumps(steps), encoding="utf-8")
    read_or_refuse(folder)
    for name in ("model_config.json", "footprint.json"):
        (folder / name).unlink()


@relaxed
@given(content=EXTREME | st.binary(max_size=60))
def test_any_bytes_of_a_manifest(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    error = problem_of(tmp_path, Layout.PACKAGE)
    is_coded(error)


@relaxed
@given(version=json_values, components=json_values, variant=json_values, name=st.text(max_size=8))
def test_any_manifest_of_a_package(version: Any, components: Any, variant: Any, name: str, tmp_path: Path) -> None:
    for parts in (components, {name: components}, {name: {"variants": {name: variant}}}):
        manifest = {"schema_version": version or "1.0", "components": parts, "package_name": variant}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        error = problem_of(tmp_path, Layout.PACKAGE)
        is_coded(error)


@relaxed
@given(name=json_values)
def test_any_name_of_a_package(name: Any, folder: Path) -> None:
    manifest = folder.parent / "manifest.json"
    manifest.write_text(json.dumps({"schema_version": "1.0", "components": {}, "package_name": name}), encoding="utf-8")
    read_or_refuse(folder)
    manifest.unlink()


@relaxed
@given(config=json_values)
def test_any_configuration_of_an_export(config: Any, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    error = problem_of(tmp_path, Layout.PLAIN_ONNX)
    is_coded(error)


# -- graphs


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_graph_is_a_graph_or_malformed(
    data: st.DataObject, model_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray((model_template / "model.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(len(content) - 1, 6000)))
        garbage = data.draw(st.binary(min_size=1, max_size=12))
        content[position : position + data.draw(st.integers(0, 12))] = garbage
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    try:
        facts = read_graph(path)
    except MalformedProtobuf:
        return
    assert 0 <= facts.parameters < 2**63


def field(number: int, content: bytes) -> bytes:
    length = len(content)
    encoded = bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2]) + bytes(encoded) + bytes([length]) + content


def nested(depth: int) -> bytes:
    """A graph whose only node holds a graph, and so on."""
    graph = field(1, field(4, b"Identity"))
    for _ in range(depth):
        graph = field(1, field(4, b"If") + field(5, field(6, graph)))
    return field(7, graph)


@pytest.mark.parametrize(
    ("content", "is_read"),
    [
        (nested(20), True),
        (nested(3000), False),
        (field(7, field(1, b"")), True),  # a node of nothing
        (field(7, field(5, b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 3)), False),  # a tensor larger than the world
        (field(7, field(5, b"\x08\x01" * 100)), False),  # with a hundred dimensions
        (field(7, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), False),  # a length beyond the file
        (field(7, b"\x08\x01"), False),  # a node that is a number
        (b"\x3f" * 100, False),
    ],
)
def test_shapes_that_would_cost_time_or_memory(content: bytes, is_read: bool, tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    for size in (0, 6 * 1024**2):  # in one piece, and in parts
        path.write_bytes(content + (field(6, bytes(size)) if size else b""))
        if is_read:
            assert read_graph(path).parameters == 0
        else:
            with pytest.raises(MalformedProtobuf):
                read_graph(path)


NODE = field(1, field(4, b"Identity"))
BROKEN_TEXT = b"\xff\xfe"


@pytest.mark.parametrize(
    "graph",
    [
        field(1, field(4, b"MatMulNBits") + field(1, BROKEN_TEXT)),
        field(1, field(4, b"MatMulNBits") + field(5, field(1, BROKEN_TEXT))),
        NODE + field(5, field(8, BROKEN_TEXT)),
        NODE + field(5, field(13, field(1, BROKEN_TEXT) + field(2, b"w.bin"))),  # an entry, but no location
        NODE + field(5, field(13, field(1, b"location") + field(2, BROKEN_TEXT))),
        NODE + field(11, field(1, BROKEN_TEXT)),
        NODE + field(12, field(1, BROKEN_TEXT)),
    ],
)
def test_a_text_that_is_not_utf8_is_malformed(graph: bytes, tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(MalformedProtobuf, match=r"UTF-8|location"):
        read_graph(path)


def test_a_large_file_of_small_graphs_ends_in_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(field(7, field(1, b"") * 2000) * 2000)
    with pytest.raises(MalformedProtobuf, match="more than"):
        read_graph(path)


def test_a_graph_in_a_damaged_attribute_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(field(7, field(1, field(4, b"If") + field(5, field(6, b"\x0a\x7f")))))
    with pytest.raises(MalformedProtobuf, match="cut off"):
        read_graph(path)


def test_millions_of_empty_fields_end_in_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(field(7, field(1, b"") * 1_200_000))
    started = time.perf_counter()
    with pytest.raises(MalformedProtobuf, match="more than"):
        read_graph(path)
    assert time.perf_counter() - started < 20
