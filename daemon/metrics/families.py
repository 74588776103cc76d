"""Every metric there is: its name, what it says, its labels. docs/metrics.md is held to this by a test.

Invariant: a label has a bounded set of values: what a client makes up is never one. Models are those that were asked,
at most ``MAX_MODELS``; the rest are ``OTHER`` together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_MODELS = 500
OTHER = "other"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``buckets`` are the upper bounds of a histogram, without the infinite one."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# An answer takes from milliseconds (a list) to request_timeout_s.
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
# From a cached prompt on a small model to a long one behind a load.
_FIRST_TOKEN_S = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 300.0)
# From 1,000 tokens a second to one in two seconds.
_BETWEEN_TOKENS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0)
_WAIT_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_LOAD_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)

_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

REQUESTS = Family(
    "slmreg_requests_total",
    _COUNTER,
    "Requests that were answered, by the route's template and the class of the status; other: no route of ours.",
    ("route", "method", "status"),
)
REQUEST_SECONDS = Family(
    "slmreg_request_duration_seconds",
    _HISTOGRAM,
    "From the first byte of a request that was read to the last of its answer.",
    ("route", "method"),
    _REQUEST_S,
)
IN_FLIGHT = Family("slmreg_requests_in_flight", _GAUGE, "Requests that are being answered now.")

PROMPT_TOKENS = Family("slmreg_prompt_tokens_total", _COUNTER, "Tokens of the prompts that were taken.", ("model",))
CACHED_TOKENS = Family(
    "slmreg_cached_prompt_tokens_total",
    _COUNTER,
    "Of the tokens of finished answers' prompts, those that did not have to be read again.",
    ("model",),
)
COMPLETION_TOKENS = Family("slmreg_completion_tokens_total", _COUNTER, "Tokens that were generated.", ("model",))
ANSWERS = Family(
    "slmreg_answers_total",
    _COUNTER,
    "Answers that ended, by why: as finish_reason says, embedded, failed, or unfinished where the client left.",
    ("model", "reason"),
)
FIRST_TOKEN_SECONDS = Family(
    "slmreg_time_to_first_token_seconds",
    _HISTOGRAM,
    "From asking for the model, so with its load and the wait for a turn, to the first token.",
    ("model",),
    _FIRST_TOKEN_S,
)
BETWEEN_TOKENS_SECONDS = Family(
    "slmreg_inter_token_seconds",
    _HISTOGRAM,
    "Time between two tokens of one answer; tokens that come together share theirs.",
    ("model",),
    _BETWEEN_TOKENS_S,
)
WAIT_SECONDS = Family(
    "slmreg_queue_wait_seconds",
    _HISTOGRAM,
    "How long requests waited for their turn, the load of their model included.",
    ("model",),
    _WAIT_S,
)
WAITING = Family("slmreg_requests_waiting", _GAUGE, "Requests that wait for their turn.", ("model",))
RUNNING = Family("slmreg_requests_running", _GAUGE, "Requests that a model is answering.", ("model",))

SESSIONS = Family("slmreg_sessions", _GAUGE, "Sessions of models, by state.", ("state",))
MODEL_BYTES = Family(
    "slmreg_model_memory_bytes", _GAUGE, "Memory that the process of a loaded model holds.", ("model",)
)
PROMISED_BYTES = Family(
    "slmreg_model_promised_memory_bytes", _GAUGE, "Memory that a loaded model may still come to need.", ("model",)
)
LOADS = Family("slmreg_loads_total", _COUNTER, "Loads that worked.", ("model",))
LOAD_SECONDS = Family(
    "slmreg_load_duration_seconds",
    _HISTOGRAM,
    "From the start of a process to its model being ready, of loads that worked.",
    (),
    _LOAD_S,
)
UNLOADS = Family(
    "slmreg_unloads_total",
    _COUNTER,
    "Sessions that went as they were meant to, by why; evicted and pressed_out: for want of memory.",
    ("model", "reason"),
)
FAILURES = Family(
    "slmreg_session_failures_total", _COUNTER, "Loads that failed and processes that ended, by why.", ("model", "kind")
)
OUT_OF_MEMORY = Family(
    "slmreg_out_of_memory_total", _COUNTER, "Loads, answers and processes that failed for want of memory.", ("model",)
)
RESTARTS = Family(
    "slmreg_worker_restarts_total", _COUNTER, "Models that were loaded again after they had failed.", ("model",)
)

SELECTIONS = Family(
    "slmreg_selections_total", _COUNTER, "Requests that left the model to slmreg, and what it chose.", ("task", "model")
)
MODELS = Family("slmreg_models", _GAUGE, "Models that the registry knows, by status.", ("status",))
PROBLEMS = Family("slmreg_folder_problems", _GAUGE, "Folders that are no usable models.")
EVENTS = Family("slmreg_events_total", _COUNTER, "Events that were published.", ("kind",))
FOLLOWERS = Family("slmreg_event_followers", _GAUGE, "Clients that follow the events.")
LOG_DROPS = Family(
    "slmreg_log_lines_dropped_total", _COUNTER, "Lines of the log that could not be written.", ("outlet",)
)
BUILD = Family(
    "slmreg_build_info",
    _GAUGE,
    "Always 1; the labels are the versions of what runs here.",
    ("version", "python", "onnxruntime", "onnxruntime_genai"),
)
START_TIME = Family("slmreg_start_time_seconds", _GAUGE, "When the daemon started, as Unix time.")

FAMILIES = tuple(each for each in dict(globals()).values() if isinstance(each, Family))
