"""How a model samples when a request does not say: what its own files recommend.

``ModelConfig`` in inference_model.json (written by a person for this deployment) counts before ``search`` in
genai_config.json (written by the converter, from the publisher's generation_config.json); without either it is 1.0,
as in OpenAI's API. Values that make no sense count as absent: they come from strangers, and a request can set its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.pool.protocol import Sampling
from daemon.worker.sampling import SamplingParams
from registry.errors import InvalidRequest

_MAX_TEMPERATURE = 2.0  # OpenAI's bound
_MAX_TOP_K = 1_000_000
_MAX_REPETITION_PENALTY = 10.0


def sampling_defaults(folder: Path, config: Mapping[str, Any]) -> SamplingParams:
    """The defaults of a model folder; ``config`` is its genai_config.json."""
    search = _object(config.get("search"))
    # do_sample false is greedy whatever the temperature says.
    found: dict[str, Any] = {"temperature": 0.0} if search.get("do_sample") is False else dict(search)
    found |= _model_config(folder)
    standard = SamplingParams()
    return SamplingParams(
        temperature=_number(found.get("temperature"), 0.0, _MAX_TEMPERATURE, standard.temperature),
        top_p=_number(found.get("top_p"), 0.0, 1.0, standard.top_p) or standard.top_p,
        top_k=int(_number(found.get("top_k"), 0, _MAX_TOP_K, standard.top_k)),
        min_p=_number(found.get("min_p"), 0.0, 1.0, standard.min_p),
        repetition_penalty=_number(found.get("repetition_penalty"), 0.0, _MAX_REPETITION_PENALTY, 0.0)
        or standard.repetition_penalty,
    )


def with_defaults(asked: Sampling, defaults: SamplingParams, *, vocab_size: int) -> SamplingParams:
    """What was asked for, and the defaults for the rest. Raises InvalidRequest for what no sampler can do."""
    penalty = defaults.repetition_penalty if asked.repetition_penalty is None else asked.repetition_penalty
    if not penalty > 0:
        raise InvalidRequest("repetition_penalty must be more than 0; 1 is off.", param="repetition_penalty")
    return SamplingParams(
        temperature=defaults.temperature if asked.temperature is None else asked.temperature,
        top_p=defaults.top_p if asked.top_p is None else asked.top_p,
        top_k=defaults.top_k if asked.top_k is None else asked.top_k,
        min_p=defaults.min_p if asked.min_p is None else asked.min_p,
        seed=asked.seed,
        repetition_penalty=penalty,
        frequency_penalty=asked.frequency_penalty or 0.0,
        presence_penalty=asked.presence_penalty or 0.0,
        logit_bias=_by_token(asked.logit_bias, vocab_size),
    )


def _by_token(logit_bias: Mapping[str, float], vocab_size: int) -> dict[int, float]:
    for token in logit_bias:
        if not (token.isascii() and token.isdecimal() and int(token[:20]) < vocab_size):
            message = f"logit_bias names the token {token[:20]!r}, but this model's tokens are 0 to {vocab_size - 1}."
            raise InvalidRequest(message, param="logit_bias")
    return {int(token): bias for token, bias in logit_bias.items()}


def _model_config(folder: Path) -> Mapping[str, Any]:
    try:
        document = json.loads((folder / "inference_model.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return _object(_object(document).get("ModelConfig"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any, least: float, most: float, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    return float(value) if least <= value <= most else otherwise  # NaN is in no range
