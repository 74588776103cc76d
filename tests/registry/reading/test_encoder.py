"""Text encoders without genai_config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry.layouts.encoder import find_encoder_graph
from registry.model import Root, ScanReport, Source
from registry.scan import scan
from scripts.model_factory.layouts.parts import link
from scripts.model_factory.text_encoder import write_text_encoder


def scanned(root: Path, under: Path | None = None, **more: Any) -> ScanReport:
    return scan([Root(root, Source.FOLDER)], under=under, **more)


def problem(root: Path) -> str:
    (found,) = scanned(root).problems
    return found.code


@pytest.mark.parametrize(
    ("names", "graph"),
    [
        ({"onnx/model.onnx", "model.onnx"}, "model.onnx"),
        ({"onnx/model.onnx", "onnx/model_quantized.onnx"}, "onnx/model.onnx"),
        ({"onnx/model_int8.onnx", "config.json"}, "onnx/model_int8.onnx"),
        ({"model_a.onnx", "model_b.onnx"}, None),
        ({"openvino/other.onnx"}, None),
        (set(), None),
    ],
)
def test_the_graph_is_the_usual_one_or_the_only_one(names: set[str], graph: str | None) -> None:
    assert find_encoder_graph(names) == graph


@pytest.mark.parametrize(
    ("model_type", "positions", "trained", "tokens"),
    [("bert", 512, None, 512), ("bert", 512, 256, 256), ("xlm-roberta", 514, None, 512), ("bert", None, None, 2048)],
)
def test_a_text_may_be_as_long_as_the_encoder_was_trained_for(
    model_type: str, positions: int | None, trained: int | None, tokens: int, tmp_path: Path
) -> None:
    folder = write_text_encoder(tmp_path / "e", pooling=None)
    config = {"model_type": model_type, "max_position_embeddings": positions}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if trained is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": trained}), encoding="utf-8")
    (model,) = scanned(tmp_path).models
    assert model.context_tokens == tokens


def test_an_encoder_of_an_unknown_type_is_told_by_its_graph(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e")
    (folder / "config.json").write_text('{"model_type": "something_new"}', encoding="utf-8")
    (model,) = scanned(tmp_path).models
    assert (model.tasks, model.evidence["tasks"]) == (("embeddings",), "the graph gives a vector")


def test_a_change_in_one_of_its_folders_is_one_of_the_encoder(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e")
    assert [model.path for model in scanned(tmp_path, under=folder / "1_Pooling").models] == [folder]


def test_one_that_has_not_changed_is_not_read_again_and_one_that_has_is(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e")
    known = {model.path: model for model in scanned(tmp_path).models}
    assert scanned(tmp_path, known=known).unchanged == {folder}
    write_text_encoder(folder, output="logits")
    report = scanned(tmp_path, known=known)
    assert (report.models, report.unchanged, [each.code for each in report.problems]) == (
        (),
        frozenset(),
        ["not_genai"],
    )


def test_what_is_missing_or_damaged_is_told_as_of_any_model(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e")
    weights = folder / "model.onnx.data"
    content = weights.read_bytes()
    weights.write_bytes(content[:100])
    assert problem(tmp_path) == "external_data_too_short"
    weights.unlink()
    assert problem(tmp_path) == "external_data_missing"
    weights.write_bytes(content)
    (folder / "more.incomplete").touch()
    assert problem(tmp_path) == "unfinished"
    (folder / "more.incomplete").unlink()
    (folder / "model.onnx").write_bytes(b"no graph")
    assert problem(tmp_path) == "graph_invalid"


def test_without_a_tokenizer_it_is_a_plain_export(tmp_path: Path) -> None:
    (write_text_encoder(tmp_path / "e") / "tokenizer.json").unlink()
    assert problem(tmp_path) == "not_genai"


def test_in_a_hugging_face_cache_its_files_are_links_to_blobs(tmp_path: Path) -> None:
    whole = write_text_encoder(tmp_path / "written", graph="onnx/model.onnx")
    repository = tmp_path / "hub" / "models--someone--encoder-small"
    snapshot = repository / "snapshots" / ("0" * 40)
    for index, file in enumerate(sorted(path for path in whole.rglob("*") if path.is_file())):
        blob = repository / "blobs" / f"{index:040}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blob)
        link(snapshot / file.relative_to(whole), blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40, encoding="ascii")
    report = scan([Root(tmp_path / "hub", Source.HUGGING_FACE)])
    assert [(model.name, model.tasks, model.refs) for model in report.models] == [
        ("encoder-small", ("embeddings",), ("main",))
    ]
    assert report.problems == ()


def test_inside_of_another_model_it_is_a_part_of_that(tmp_path: Path, place_model: Any) -> None:
    model = place_model(tmp_path / "model")
    write_text_encoder(model / "retriever")
    assert [each.path for each in scanned(tmp_path).models] == [model]
