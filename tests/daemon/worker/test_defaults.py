from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.protocol import Sampling
from daemon.worker.defaults import sampling_defaults, with_defaults
from daemon.worker.sampling import SamplingParams
from registry.errors import InvalidRequest

SEARCH = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}


def write_model_config(folder: Path, value: Any) -> None:
    text = json.dumps({"Name": "m:1", "ModelConfig": value})
    folder.joinpath("inference_model.json").write_text(f"\ufeff{text}", encoding="utf-8")


def test_the_publishers_settings_are_the_defaults(tmp_path: Path) -> None:
    assert sampling_defaults(tmp_path, {"search": SEARCH}) == SamplingParams(temperature=0.7, top_p=0.8, top_k=20)


def test_without_sampling_the_model_is_greedy(tmp_path: Path) -> None:
    assert sampling_defaults(tmp_path, {"search": {**SEARCH, "do_sample": False}}).temperature == 0


def test_nothing_said_is_openais_default(tmp_path: Path) -> None:
    assert sampling_defaults(tmp_path, {}) == SamplingParams(temperature=1.0, top_p=1.0, top_k=0)


def test_inference_model_json_counts_before_genai_config(tmp_path: Path) -> None:
    write_model_config(tmp_path, {"temperature": 0.3, "max_length": 2048})
    for search in (SEARCH, {**SEARCH, "do_sample": False}):
        assert sampling_defaults(tmp_path, {"search": search}).temperature == 0.3


@pytest.mark.parametrize("value", [-1, 99, "hot", None, True, [], float("nan"), float("inf"), 10**400])
def test_values_that_make_no_sense_count_as_absent(tmp_path: Path, value: Any) -> None:
    names = ("temperature", "top_p", "top_k") if not isinstance(value, int) or value < 0 else ("temperature", "top_p")
    search = dict.fromkeys(names, value)
    assert sampling_defaults(tmp_path, {"search": search}) == SamplingParams()
    write_model_config(tmp_path, search)
    assert sampling_defaults(tmp_path, {}) == SamplingParams()


@pytest.mark.parametrize("document", ["", "[]", "{", '{"ModelConfig": 3}', "[" * 100_000])
def test_a_broken_inference_model_json_does_no_harm(tmp_path: Path, document: str) -> None:
    tmp_path.joinpath("inference_model.json").write_text(document, encoding="utf-8")
    assert sampling_defaults(tmp_path, {"search": []}) == SamplingParams()


def test_a_request_overrides_one_by_one() -> None:
    defaults = SamplingParams(temperature=0.7, top_p=0.8, top_k=20)
    assert with_defaults(Sampling(), defaults, vocab_size=9) == defaults
    asked = Sampling(temperature=0.0, top_p=0.5, top_k=0, seed=3)
    assert with_defaults(asked, defaults, vocab_size=9) == SamplingParams(temperature=0.0, top_p=0.5, top_k=0, seed=3)


def test_what_a_model_says_of_repetitions_and_min_p_is_its_default(tmp_path: Path) -> None:
    search = {"repetition_penalty": 1.1, "min_p": 0.05}
    defaults = sampling_defaults(tmp_path, {"search": search})
    assert (defaults.repetition_penalty, defaults.min_p) == (1.1, 0.05)
    write_model_config(tmp_path, {"repetition_penalty": 1.2})
    assert sampling_defaults(tmp_path, {"search": search}).repetition_penalty == 1.2
    assert with_defaults(Sampling(repetition_penalty=1.0, min_p=0.0), defaults, vocab_size=9) == SamplingParams()


@pytest.mark.parametrize("value", [0, -1, 99, None, "1.1"])
def test_a_repetition_penalty_that_makes_no_sense_counts_as_absent(tmp_path: Path, value: Any) -> None:
    assert sampling_defaults(tmp_path, {"search": {"repetition_penalty": value}}).repetition_penalty == 1


def test_penalties_and_biases_are_what_was_asked_for() -> None:
    asked = Sampling(frequency_penalty=0.5, presence_penalty=-1.0, logit_bias={"3": 2.0})
    params = with_defaults(asked, SamplingParams(), vocab_size=9)
    assert (params.frequency_penalty, params.presence_penalty, params.logit_bias) == (0.5, -1.0, {3: 2.0})


@pytest.mark.parametrize("token", ["9", "-1", "", "x", "1.0", "\u00b2", "9" * 5000])
def test_a_bias_for_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="0 to 8") as caught:
        with_defaults(Sampling(logit_bias={"1": 1.0, token: 1.0}), SamplingParams(), vocab_size=9)
    assert caught.value.param == "logit_bias"


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_a_repetition_penalty_that_no_sampler_can_take_is_refused(penalty: float) -> None:
    with pytest.raises(InvalidRequest, match="more than 0"):
        with_defaults(Sampling(repetition_penalty=penalty), SamplingParams(), vocab_size=9)
