"""The messages between the daemon and a worker process; ``daemon.pool.framing`` puts them on a pipe.

Conversation: the daemon sends one ``Load``; the worker answers ``Ready`` or ``LoadFailed``. Then any number of
``Generate``, ``Embed``, ``Transcribe``, ``Measure``, ``Cancel`` and ``UseCores``, at once.

* ``Generate`` and ``Transcribe`` are answered by ``Accepted`` (the prompt has been counted and fits), then ``Delta``
  ... and end with exactly one of ``Finished`` or ``Failed``; ``Failed`` may come without ``Accepted``.
* ``Embed`` is answered by ``Embedded`` or ``Failed``, ``Measure`` by ``Measured`` or ``Failed``.
* From ``Ready`` on, ``Pulse`` comes every ``PULSE_S``, unless the worker is inside one call of the engine, and when
  the last request has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# A worker says so often that it lives, and what its requests take.
PULSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load the model folder at ``path``; ``model_id`` is what the log calls it.

    ``context_tokens`` bounds one request's prompt and answer together, and also the key-value cache of all requests
    that run at the same time and of finished sequences that are kept. ``threads`` is ONNX Runtime's intra-op thread
    count; ``is_spinning``: they wait for work without giving up their cores. ``max_concurrent`` bounds the requests
    that advance together, 0 leaves that to the worker; ``prefill_chunk_tokens`` bounds the tokens of a prompt that are
    read in one step. ``kept_rows`` is how many finished sequences may stay for prompts that begin like them.
    ``allowed_libraries`` are the SHA-256 digests of the custom operator libraries that may be run. ``cores`` are those
    that loading may use; empty: all.
    ``tool_markers`` and ``reasoning_markers`` are what the registry knows of the texts around a call and a thought,
    two each: where they begin and end; empty: nothing.

    ``engine`` is "auto", "generator" or "batched". The batched one is used only where it was proven to give the
    generator's tokens: ``is_proven`` says whether that was found before for this very file and runtime, None that it
    has to be found out. ``cache_tokens`` is the room of all rows together, 0: ``context_tokens``. ``max_itl_ms`` bounds
    what one piece of a prompt adds to the time between two tokens of other answers. ``draft_tokens`` is how many tokens
    may be guessed from the text so far and checked at once; 0: none. ``least_context_tokens``: an engine that cannot
    give one request so many is not used, although it would be the better one for less.
    """

    path: str
    execution_provider: str
    threads: int
    context_tokens: int
    max_concurrent: int
    is_spinning: bool = True
    prefill_chunk_tokens: int = 128
    kept_rows: int = 8
    allowed_libraries: list[str] = field(default_factory=list)
    cores: list[int] = field(default_factory=list)
    tool_markers: list[str] = field(default_factory=list)
    reasoning_markers: list[str] = field(default_factory=list)
    engine: str = "auto"
    is_proven: bool | None = None
    cache_tokens: int = 0
    max_itl_ms: int = 110
    draft_tokens: int = 0
    model_id: str = "-"
    least_context_tokens: int = 0


@dataclass(frozen=True, slots=True)
class UseCores:
    """From now on run only on these cores, by the system's numbers; empty: on all that the process may use."""

    cores: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """``temperature`` 0 is greedy, ``top_k`` and ``min_p`` 0 are off; None is the model's own.

    ``seed`` None is a fresh one. ``repetition_penalty`` 1 and the other penalties 0 are off, as they are where nobody
    says anything. ``logit_bias`` is added to the logits, by token id in decimal.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """What an answer has to look like. ``kind`` is "json_object", "json_schema", "regex" or "lark" (a grammar).

    ``text`` is the schema as JSON, the expression or the grammar; unused for "json_object".
    """

    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Answer a chat; ``messages`` and ``tools`` in OpenAI's shape, images as data URLs in content parts.

    ``prompt``: go on from this very text instead, without a chat template; ``messages`` and ``tools`` do not count.
    ``max_tokens`` None: to the end of the context. ``stop_token_ids`` end an answer like the end-of-sequence token,
    and no token may end it before ``min_tokens``. ``choices`` is how many answers are wanted. ``top_logprobs`` None: no
    log probabilities; else that many alternatives beside each token's own. ``thinking``: whether the model is to reason
    first, where its chat template can say so; None is up to the template. ``tool_choice`` is "auto", "none",
    "required", or "function" for the one called ``tool_name``. ``adapter`` names a LoRA adapter of the folder.

    ``prompt``, a text or token ids, is gone on from as it is: no template, no messages, and nothing in the answer is
    taken for reasoning or a call. ``prefill`` is how the answer to a chat begins: the model goes on from there,
    without reasoning first.
    """

    request_id: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str = "auto"
    tool_name: str | None = None
    has_parallel_calls: bool = True
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    sampling: Sampling = field(default_factory=Sampling)
    choices: int = 1
    top_logprobs: int | None = None
    guide: Guide | None = None
    thinking: bool | None = None
    adapter: str | None = None
    prompt: str | list[int] | None = None
    prefill: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """Make a vector of each text, or of each list of token ids, and keep its first ``dimensions``; None: all.

    ``is_truncating``: of a text that is too long for the model, only the beginning counts; else it is refused.
    """

    request_id: str
    inputs: list[str | list[int]]
    dimensions: int | None = None
    is_truncating: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcribe:
    """Write down speech. ``audio`` is a WAV, FLAC or MP3 file in base64, ``language`` an ISO 639-1 code or None.

    ``task`` is "transcribe" or "translate" (into English). ``prompt`` is text that the speech goes on from: names and
    spellings in it are kept.
    """

    request_id: str
    audio: str
    language: str | None = None
    task: str = "transcribe"
    prompt: str = ""
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Time so many ``calls`` of the engine, with ``tokens`` for each of ``rows`` rows: one for many, or many for one.

    It is one step, during which nothing else is done, and refused while anything else is.
    """

    request_id: str
    rows: int
    tokens: int
    calls: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a request; it ends with ``Finished(finish_reason="cancelled")``. Unknown ids are ignored."""

    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The model is loaded. ``context_tokens`` is what one request may use here, at most what ``Load`` asked for.

    ``engine`` says what runs it: "batched", "generator", "paged", "embedding" or "transcription"; ``engine_reason``, in
    words, why not the batched one. ``is_proven``: see ``Load``; None where it was not tried. ``kv_token_bytes`` is what
    one token of a row takes, ``max_concurrent`` the requests that may run at the same time; both are 0 where nobody
    knows. ``is_longest``: no load gives more context; else one does that asks for it by ``Load.least_context_tokens``.
    ``adapters`` are the names that ``Generate.adapter`` may have. ``template_source`` is the file of the chat template;
    of an embedding model, how it makes one vector of a text and where that stands.
    """

    model_type: str
    device: str
    context_tokens: int
    load_s: float
    template_source: str
    engine: str = "generator"
    engine_reason: str = ""
    is_proven: bool | None = None
    kv_token_bytes: int = 0
    max_concurrent: int = 0
    is_longest: bool = True
    adapters: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """``code`` is one of ``daemon.worker.errors.LoadCode``."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """The worker lives and looks after its messages.

    ``row_tokens`` are the tokens of key-value cache that each request takes that runs now, ``kept_tokens`` those of
    each finished sequence that stays; ``reserved_tokens`` is the room of them all, of at most ``cache_tokens``. Nothing
    where the engine keeps its cache to itself.
    """

    row_tokens: list[int] = field(default_factory=list)
    kept_tokens: list[int] = field(default_factory=list)
    reserved_tokens: int = 0
    cache_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """``prompt_text`` is that of a ``Generate.prompt`` of token ids; else empty."""

    request_id: str
    prompt_tokens: int
    prompt_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """A token that was sampled, its text (bytes that are no whole character as U+FFFD), bytes and log probability.

    ``top`` are the likeliest tokens in its place, best first, with empty ``top`` of their own.
    """

    token: str
    bytes: list[int]
    logprob: float
    top: list[TokenLogprob] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A piece of the ``index``-th tool call of an answer: its ``name`` comes once, first; ``arguments`` are added up
    to the text of a JSON object, which is cut off or broken where the model's own was."""

    index: int
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer number ``choice``: visible ``text``, ``reasoning`` before it, pieces of tool calls.

    Safe to show: whole UTF-8 characters, no special tokens, no part of a stop string. ``tokens`` is how many tokens
    were sampled since the last delta of this choice; ``logprobs`` has those whose text is in this one.
    """

    request_id: str
    text: str
    tokens: int
    choice: int = 0
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """``finish_reason`` is "stop" (end-of-sequence token or stop string), "tool_calls", "length" or "cancelled".

    ``finish_reasons`` has that of each choice where there are several; ``finish_reason`` is the first's, and so is
    ``stop_string``, the stop string that ended it. Tokens are those of all choices together; ``cached_tokens`` of the
    prompt were not read again, and ``reasoning_tokens`` of the completion were reasoning. Times in seconds.
    """

    request_id: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_s: float
    ttft_s: float
    decode_s: float
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    finish_reasons: list[str] = field(default_factory=list)
    stop_string: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One vector for each input: little-endian float32, all in one, in base64; ``dimensions`` numbers each."""

    request_id: str
    vectors: str
    dimensions: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each call."""

    request_id: str
    call_s: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """``code`` is that of a ``registry.errors`` class, ``param`` what of the request is to blame, where that is known.

    ``context_length_exceeded`` fills both numbers.
    """

    request_id: str
    code: str
    message: str
    param: str | None = None
    prompt_tokens: int | None = None
    context_tokens: int | None = None


ToWorker = Load | Generate | Embed | Transcribe | Measure | Cancel | UseCores
ToDaemon = Ready | LoadFailed | Pulse | Accepted | Delta | Finished | Embedded | Measured | Failed
Message = ToWorker | ToDaemon
