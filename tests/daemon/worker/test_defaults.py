from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.pool.protocol import Sampling
from daemon.worker.defaults import sampling_defaults, with_defaults
from daemon.worker.sampling import SamplingParams

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
