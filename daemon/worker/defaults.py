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

_MAX_TEMPERATURE = 2.0  # OpenAI's bound
_MAX_TOP_K = 1_000_000


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
    )


def with_defaults(asked: Sampling, defaults: SamplingParams) -> SamplingParams:
    """What was asked for, and the defaults for the rest."""
    return SamplingParams(
        temperature=defaults.temperature if asked.temperature is None else asked.temperature,
        top_p=defaults.top_p if asked.top_p is None else asked.top_p,
        top_k=defaults.top_k if asked.top_k is None else asked.top_k,
        seed=asked.seed,
    )


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
