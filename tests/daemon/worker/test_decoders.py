"""Which engine a worker runs a model on, and what it says about that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime_genai as og
import pytest

from daemon.pool.protocol import Delta, Failed, Finished, Generate, Load, Ready, Sampling, ToDaemon
from daemon.worker.backends.batched import opening
from daemon.worker.errors import LoadCode, LoadError
from daemon.worker.loading import load_engine
from daemon.worker.served import ServedModel
from scripts.model_factory import Quantization, write_preset

CHATS = ("Hello there", "Tell me a story. " * 20, "x", "What is the time? " * 5, "One, two, three")
SAMPLED = Sampling(temperature=0.8, top_k=40, seed=11, frequency_penalty=0.5)


def a_load(folder: Path, **changes: Any) -> Load:
    fields = {"execution_provider": "cpu", "threads": 1, "context_tokens": 2048, "max_concurrent": 4, **changes}
    return Load(path=str(folder), **fields)


def loaded(folder: Path, **changes: Any) -> tuple[ServedModel, Ready]:
    return load_engine(a_load(folder, **changes))


def answers(engine: ServedModel, sampling: Sampling) -> dict[str, str]:
    """Of requests that come while others are answered, with cancels in between."""
    told: list[ToDaemon] = []
    for number, content in enumerate(CHATS * 2):
        messages = [{"role": "user", "content": content}]
        request = Generate(request_id=str(number), messages=messages, max_tokens=20 + number, sampling=sampling)
        told += engine.handle(request)
        for _ in range(number):
            told += engine.step()
    while not engine.is_idle:
        told += engine.step()
    assert not [message for message in told if isinstance(message, Failed)]
    assert sum(isinstance(message, Finished) for message in told) == 2 * len(CHATS)
    texts: dict[str, str] = {}
    for message in told:
        if isinstance(message, Delta):
            texts[message.request_id] = texts.get(message.request_id, "") + message.text
    return texts


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), SAMPLED], ids=["greedy", "sampled"])
def test_answers_are_the_same_on_both_engines(tmp_path: Path, sampling: Sampling) -> None:
    folder = write_preset("tiny", tmp_path / "fp32", quantization=Quantization.FP32)
    (one, ready), (other, plain) = loaded(folder), loaded(folder, engine="generator")
    assert (ready.engine, plain.engine) == ("batched", "generator")
    assert answers(one, sampling) == answers(other, sampling)


def test_the_first_load_compares_and_says_what_it_found(tiny_model: Path) -> None:
    _, ready = loaded(tiny_model)
    assert (ready.engine, ready.engine_reason, ready.is_proven) == ("batched", "", True)
    assert ready.kv_token_bytes == 2 * 2 * 2 * 16 * 4
    assert (ready.model_type, ready.device) == ("qwen2", "cpu")


def test_a_model_that_was_compared_is_never_loaded_twice(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_settings: object) -> None:
        raise AssertionError("onnxruntime-genai loads the weights as well")

    monkeypatch.setattr(og, "Model", never)
    _, ready = loaded(tiny_model, is_proven=True)
    assert (ready.engine, ready.is_proven) == ("batched", True)


def test_a_model_that_was_found_to_differ_goes_to_the_generator_at_once(tiny_model: Path) -> None:
    _, ready = loaded(tiny_model, is_proven=False)
    assert (ready.engine, ready.is_proven) == ("generator", False)
    assert "found before" in ready.engine_reason


@pytest.fixture
def differing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "find_difference", lambda _backend, _recorded: "its logits differ by 3 in a batch")
    yield


@pytest.mark.usefixtures("differing")
def test_a_model_that_differs_runs_on_the_generator_and_says_so(tiny_model: Path) -> None:
    engine, ready = loaded(tiny_model)
    assert (ready.engine, ready.is_proven) == ("generator", False)
    assert "differ by 3 in a batch" in ready.engine_reason
    assert answers(engine, Sampling(temperature=0))


@pytest.mark.usefixtures("differing")
def test_a_model_that_differs_is_not_loaded_where_batches_are_demanded(tiny_model: Path) -> None:
    with pytest.raises(LoadError, match="differ by 3 in a batch") as error:
        loaded(tiny_model, engine="batched")
    assert error.value.code is LoadCode.UNSUPPORTED
    assert "Set engine to auto" in error.value.message


def test_the_generator_can_be_asked_for(tiny_model: Path) -> None:
    _, ready = loaded(tiny_model, engine="generator", is_proven=True)
    assert (ready.engine, ready.is_proven) == ("generator", None)
    assert "setting engine" in ready.engine_reason


def test_more_requests_run_at_once_in_batches_unless_the_daemon_says_how_many(tmp_path: Path) -> None:
    folder = write_preset("tiny", tmp_path / "long", context_tokens=4096)
    asked = {"context_tokens": 4096, "max_concurrent": 0}
    engine, ready = loaded(folder, **asked)
    assert (ready.engine, ready.max_concurrent) == ("batched", 8)
    assert answers(engine, Sampling(temperature=0))
    assert loaded(folder, **asked, engine="generator")[1].max_concurrent == 4
    assert loaded(folder, context_tokens=4096, max_concurrent=3)[1].max_concurrent == 3


def test_a_model_with_two_pairs_of_rotary_tables_runs_in_batches_as_long_as_one_pair_counts(tmp_path: Path) -> None:
    """Longer texts are for the generator, which a load for them gets."""
    folder = write_preset(
        "tiny",
        tmp_path / "long",
        quantization=Quantization.FP32,
        original_context_tokens=512,
        model_type="phi3",
    )
    engine, ready = loaded(folder)
    assert (ready.engine, ready.context_tokens, ready.is_longest) == ("batched", 512, False)
    longer, plain = loaded(folder, least_context_tokens=513)
    assert (plain.engine, plain.context_tokens, plain.is_longest) == ("generator", 2048, True)
    assert plain.engine_reason == "It reads texts of more than 512 tokens, as was asked for, one by one only."
    assert answers(engine, Sampling(temperature=0)) == answers(longer, Sampling(temperature=0))
    _, ready = loaded(folder, least_context_tokens=512, is_proven=True)
    assert (ready.engine, ready.context_tokens) == ("batched", 512)


def test_what_cannot_run_in_batches_runs_on_the_generator_with_the_reason(folder: Path) -> None:
    (folder / "style.onnx_adapter").write_bytes(b"no adapter")
    _, ready = loaded(folder)
    assert (ready.engine, ready.engine_reason, ready.is_proven) == ("generator", "It has LoRA adapters.", None)
    with pytest.raises(LoadError, match="LoRA adapters"):
        loaded(folder, engine="batched")


@pytest.mark.parametrize(
    "changes", [{"graph_optimization_level": "ORT_DISABLE_ALL"}, {"session.set_denormal_as_zero": "1"}]
)
def test_the_folders_own_session_options_count(folder: Path, changes: dict[str, str]) -> None:
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"] |= changes
    (folder / "genai_config.json").write_text(json.dumps(config))
    _, ready = loaded(folder)
    assert ready.engine == "batched"


def test_session_options_of_a_folder_write_no_files(folder: Path) -> None:
    config = json.loads((folder / "genai_config.json").read_text())
    target = folder.parent / "written.bin"
    config["model"]["decoder"]["session_options"] |= {
        "session.save_external_prepacked_constant_initializers": "1",
        "session.optimized_model_external_initializers_file_name": str(target),
        "optimized_model_filepath": str(target),
    }
    (folder / "genai_config.json").write_text(json.dumps(config))
    loaded(folder, is_proven=True, engine="batched")
    assert not target.exists()


def test_an_unknown_provider_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(LoadError, match="no execution provider"):
        loaded(tiny_model, execution_provider="abacus")
