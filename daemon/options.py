"""Ollama's options, which are the parameters of presets too: what each may be, and what it means to us.

Invariant: an option that would change the answer and cannot be honoured is an error that names it. Those that only tune
Ollama's own engine are left out in silence: the same tokens come without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from daemon.bounds import MAX_CONTEXT_TOKENS
from registry.errors import InvalidRequest, UnsupportedParameter

MAX_STOPS = 16
MAX_NUMBER = 2**31 - 1
# An answer that may go on to the end of the context, whatever a preset says.
TO_THE_END = MAX_NUMBER

# How Ollama's engine does it, and nothing that the answer depends on. Contexts are never shifted here, so that there is
# nothing to keep (num_keep).
ENGINE_OPTIONS = frozenset(
    {
        "f16_kv",
        "logits_all",
        "low_vram",
        "main_gpu",
        "num_batch",
        "num_gpu",
        "num_keep",
        "num_thread",
        "numa",
        "use_mlock",
        "use_mmap",
    }
)
# Nothing here can honour these, but for the values that ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "embedding_only": (False,),
    "mirostat": (0,),
    "penalize_newline": (True,),
    "tfs_z": (1,),
    "typical_p": (1,),
    "vocab_only": (False,),
}
# They mean something only with a mirostat that is on.
_OF_MIROSTAT = frozenset({"mirostat_eta", "mirostat_tau"})

_Stops = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(lambda stop: [stop] if isinstance(stop, str) else stop),
    Field(max_length=MAX_STOPS),
]


class Options(BaseModel):
    """What is left out is the preset's, else the model's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=MAX_NUMBER)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    repeat_penalty: float | None = Field(None, ge=0.01, le=10)
    repeat_last_n: int | None = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    num_predict: int | None = Field(None, ge=-2, le=MAX_NUMBER)
    num_ctx: int | None = Field(None, ge=1, le=MAX_CONTEXT_TOKENS)
    stop: _Stops | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_says_nothing(cls, given: Any) -> Any:
        """Raises UnsupportedParameter, which names the option."""
        if not isinstance(given, Mapping):
            return given
        said = {name: value for name, value in given.items() if value is not None and name not in ENGINE_OPTIONS}
        for name in NEUTRAL.keys() & said.keys():
            value = said.pop(name)
            if value not in NEUTRAL[name]:
                raise _unsupported(name, f"{value!r:.100} cannot be honoured here. Leave it out.")
        return {name: value for name, value in said.items() if name not in _OF_MIROSTAT}

    @model_validator(mode="after")
    def _can_be_honoured(self) -> Options:
        if self.num_predict == 0:
            raise _unsupported("num_predict", "0 asks for no answer. Leave it out; -1 is to the end of the context.")
        is_penalizing = self.repeat_penalty not in (None, 1)
        if self.repeat_last_n not in (None, -1, 0) and is_penalizing:
            raise _unsupported(
                "repeat_last_n", "a repeat_penalty counts for the whole text here. Use -1 (everything) or 0 (off)."
            )
        return self

    @property
    def max_tokens(self) -> int | None:
        """Of the answer; None: nothing was said."""
        return TO_THE_END if self.num_predict is not None and self.num_predict < 0 else self.num_predict

    def sampling(self) -> dict[str, Any]:
        """What was said of it, by the names of ``daemon.pool.protocol.Sampling``."""
        penalty = 1.0 if self.repeat_last_n == 0 else self.repeat_penalty
        fields = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(0, self.top_k),
            "min_p": self.min_p,
            "seed": None if self.seed == -1 else self.seed,  # Ollama's word for any
            "repetition_penalty": penalty,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
        }
        return {name: value for name, value in fields.items() if value is not None}


def unsupported_in(given: Mapping[str, Any]) -> list[str]:
    """The names of options that nothing here knows, or can honour as they are."""
    known = {*Options.model_fields, *ENGINE_OPTIONS, *_OF_MIROSTAT}
    return [name for name, value in given.items() if name not in known and value not in (None, *NEUTRAL.get(name, ()))]


def read_options(given: Mapping[str, Any], *, of: str) -> Options:
    """``of`` says whose they are, in the message. Raises InvalidRequest, UnsupportedParameter."""
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else of
        if problem["type"] == "extra_forbidden":
            raise UnsupportedParameter(f"There is no {of} {name!r}. Leave it out.", param=name) from None
        reason = str(problem["msg"]).removeprefix("Value error, ")
        raise InvalidRequest(f"The {of} {name!r} is not usable: {reason}.", param=name) from None


def _unsupported(name: str, reason: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"The option {name!r}: {reason}", param=name)
