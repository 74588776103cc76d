"""Real encoders, loaded and asked, against numpy and against themselves."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from daemon.pool.protocol import Embed, Embedded, Failed, Load, Ready
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.loading import load_engine
from daemon.worker.served import ServedModel
from scripts.model_factory import write_preset
from scripts.model_factory.text_encoder import ENCODER_TOKENS, write_text_encoder

TEXTS = ["one", "a rather longer text about something else", "x", "two words"]
BEGIN, END = 257, 258


def load(folder: Path, **changes: Any) -> tuple[ServedModel, Ready]:
    fields = {"execution_provider": "cpu", "threads": 1, "context_tokens": 512, "max_concurrent": 4, **changes}
    return load_engine(Load(path=str(folder), **fields))


def ask(model: ServedModel, *inputs: str | list[int]) -> Embedded | Failed:
    events = model.handle(Embed(request_id="r", inputs=list(inputs)))
    while not model.is_idle:
        events += model.step()
    (event,) = events
    assert isinstance(event, Embedded | Failed)
    return event


def vectors(model: ServedModel, *inputs: str | list[int]) -> npt.NDArray[np.float32]:
    answer = ask(model, *inputs)
    assert isinstance(answer, Embedded), answer
    return np.frombuffer(base64.b64decode(answer.vectors), "<f4").reshape(len(inputs), answer.dimensions)


def hidden(folder: Path, text: str) -> npt.NDArray[np.float32]:
    """What the graph itself says of one text: [tokens, size]."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    ids = np.array([[BEGIN, *text.encode(), END]], np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return np.asarray(session.run(None, feeds)[0][0])


def test_a_vector_is_the_mean_of_the_tokens_with_the_length_1(tmp_path: Path) -> None:
    model, ready = load(write_text_encoder(tmp_path / "e"))
    expected = hidden(tmp_path / "e", "one").mean(axis=0)
    assert (ready.engine, ready.model_type, ready.context_tokens) == ("embedding", "bert", ENCODER_TOKENS)
    assert ready.template_source == "mean_tokens, normalized (modules.json)"
    assert np.allclose(vectors(model, "one")[0], expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token", "max_tokens", "lasttoken"])
@pytest.mark.parametrize("normalizes", [True, False])
def test_pooling_and_length_are_the_models_own(pooling: str, normalizes: bool, tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e", pooling=pooling, normalizes=normalizes)
    tokens = hidden(folder, "two words")
    expected = {
        "mean_tokens": tokens.mean(axis=0),
        "cls_token": tokens[0],
        "max_tokens": tokens.max(axis=0),
        "lasttoken": tokens[-1],
    }[pooling]
    found = vectors(load(folder)[0], *TEXTS)[TEXTS.index("two words")]
    assert np.allclose(found, expected / (np.linalg.norm(expected) if normalizes else 1), atol=1e-5)


def test_texts_of_a_batch_have_the_vectors_that_they_have_alone(tmp_path: Path) -> None:
    model, _ = load(write_text_encoder(tmp_path / "e", pooling="lasttoken"))
    together = vectors(model, *TEXTS)
    alone = np.concatenate([vectors(model, text) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)
    assert not np.allclose(together[0], together[2], atol=1e-2)


def test_tokens_stand_for_the_text_they_came_from(tmp_path: Path) -> None:
    model, _ = load(write_text_encoder(tmp_path / "e"))
    answer = ask(model, "one", list(b"one"))
    assert isinstance(answer, Embedded)
    assert answer.prompt_tokens == 2 * len([BEGIN, *b"one", END])
    first, second = vectors(model, "one", list(b"one"))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("x" * ENCODER_TOKENS, "context_length_exceeded", "130 tokens"),
        ([1, 320], "invalid_request", "320"),
        ([-1], "invalid_request", "-1"),
    ],
)
def test_what_cannot_be_encoded_is_told_with_its_place(
    text: str | list[int], code: str, word: str, tmp_path: Path
) -> None:
    model, _ = load(write_text_encoder(tmp_path / "e"))
    answer = ask(model, "fine", text)
    assert isinstance(answer, Failed)
    assert (answer.code, answer.param) == (code, "input")
    assert word in answer.message
    assert isinstance(ask(model, "fine"), Embedded)


def test_half_a_surrogate_pair_is_a_character_like_any(tmp_path: Path) -> None:
    model, _ = load(write_text_encoder(tmp_path / "e"))
    assert np.isfinite(vectors(model, "a\ud800b")).all()


def test_an_encoder_with_genai_config_is_run_the_same_way(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e", graph="encoder.onnx", pooling=None)
    part = {"filename": "encoder.onnx", "inputs": {"input_ids": "input_ids"}}
    config = {"model": {"type": "bert", "context_length": 64, "encoder": part}}
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    model, ready = load(folder)
    assert (ready.context_tokens, ready.template_source) == (64, "mean_tokens, normalized (default)")
    assert vectors(model, "one").shape == (1, 64)


def test_a_graph_that_pools_by_itself_is_believed_whatever_its_files_ask_for(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e", output="sentence_embedding")
    config = {"pooling_mode_weightedmean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model, ready = load(folder)
    assert ready.template_source == "graph, normalized (modules.json)"
    expected = hidden(write_text_encoder(tmp_path / "same"), "one").max(axis=0)
    assert np.allclose(vectors(model, "one")[0], expected / np.linalg.norm(expected), atol=1e-6)


def headless(folder: Path) -> Path:
    """A decoder that gives the hidden states before its head, as the model builder's exclude_lm_head leaves it."""
    import onnx

    write_preset("tiny", folder)
    graph = onnx.load(folder / "model.onnx")
    head = next(node for node in graph.graph.node if "logits" in node.output)
    graph.graph.node.remove(head)
    (logits,) = [each for each in graph.graph.output if each.name == "logits"]
    states = onnx.helper.make_tensor_value_info("hidden_states", 1, ["batch_size", "sequence_length", 64])
    graph.graph.output.remove(logits)
    graph.graph.output.insert(0, states)
    for node in graph.graph.node:
        node.output[:] = ["hidden_states" if name == head.input[0] else name for name in node.output]
    onnx.save(graph, folder / "model.onnx")
    config = json.loads((folder / "genai_config.json").read_text("utf-8"))
    config["model"]["decoder"]["outputs"] = {"hidden_states": "hidden_states"}
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_of_a_decoder_without_head_the_last_token_counts(tmp_path: Path) -> None:
    model, ready = load(headless(tmp_path / "d"))
    assert (ready.engine, ready.template_source) == ("embedding", "lasttoken, normalized (default)")
    together = vectors(model, *TEXTS)
    alone = np.concatenate([vectors(model, text) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-3)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert not np.allclose(together[0], together[2], atol=1e-2)


# -- folders that cannot be used


def refused(folder: Path, **changes: Any) -> LoadError:
    with pytest.raises(LoadError) as error:
        load(folder, **changes)
    return error.value


def test_a_pooling_that_is_not_known_is_refused_and_not_guessed(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e", pooling="lasttoken")
    for asked in (["weightedmean_tokens"], ["cls_token", "mean_tokens"]):
        config = {f"pooling_mode_{mode}": True for mode in asked}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        error = refused(folder)
        assert error.code is LoadCode.UNSUPPORTED
        assert asked[0] in error.message


def test_modules_that_the_graph_lacks_are_refused(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e")
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    modules.append({"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert "Dense" in refused(folder).message


def test_a_pooling_file_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e", pooling="cls_token")
    (folder / "1_Pooling").rename(tmp_path / "outside")
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    modules[1]["path"] = "../outside"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    assert load(folder)[1].template_source.startswith("mean_tokens")


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"no graph"), LoadCode.INVALID_FILE),
        (lambda folder: (folder / "model.onnx").unlink(), LoadCode.MISSING_FILE),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), LoadCode.INVALID_FILE),
        (lambda folder: (folder / "tokenizer.json").unlink(), LoadCode.MISSING_FILE),
        (lambda folder: write_text_encoder(folder, output="logits"), LoadCode.UNSUPPORTED),
    ],
)
def test_a_damaged_folder_is_told_with_its_reason(damage: Any, code: LoadCode, tmp_path: Path) -> None:
    folder = write_text_encoder(tmp_path / "e")
    damage(folder)
    assert refused(folder).code is code


def test_a_provider_that_is_not_installed_is_missing(tmp_path: Path) -> None:
    assert refused(write_text_encoder(tmp_path / "e"), execution_provider="cuda").code is LoadCode.PROVIDER_MISSING
