"""Every setting in one frozen model: default < ``config.toml`` < ``SLMREG_*`` < command-line flag.

``daemon.config`` reads the layers, and has the one holder of the settings that a running daemon has at the moment.

Invariant: nothing else in slmreg reads the environment for a setting; ``SLMREG_HOME``, ``SLMREG_FOUNDRY_CACHES`` and
``SLMREG_HF_CACHE`` say where things lie and are read by ``daemon.paths`` and ``registry.sources``.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, field_validator

from daemon.durations import KeepAlive
from daemon.log_settings import LogSettings
from daemon.model_overrides import ModelOverride
from registry.model import Task
from selector.policy import Policy

DEFAULT_PORT = 7567
MAX_GLOBS = 100
# A point is a hundredth of all quality there is: more than this is a pin or a ban.
Points = Annotated[float, Field(ge=-50, le=50, allow_inf_nan=False)]
ENV_PREFIX = "SLMREG_"
# Not settings: they say where things lie.
LOCATION_VARIABLES = frozenset({"SLMREG_HOME", "SLMREG_FOUNDRY_CACHES", "SLMREG_HF_CACHE"})


class Settings(LogSettings):
    """Units stand in the names. ``None`` means: worked out from the machine."""

    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="port to listen on; 0 takes a free one")

    memory_budget_bytes: int | None = Field(
        None, ge=0, description="most memory all loaded models may need together; unset: what the machine has available"
    )
    threads: int | None = Field(None, ge=1, le=1024, description="threads per model; unset: all usable cores")
    max_context_tokens: int = Field(
        8192, ge=256, description="longest prompt and answer a session is sized for, if model and memory allow"
    )
    max_concurrent: int | None = Field(
        None, ge=1, le=256, description="requests that one model answers at the same time; unset: 8 in batches, else 4"
    )
    max_queue: int = Field(64, ge=1, description="requests per model, running and waiting; beyond it: 429")
    max_queue_total: int = Field(
        256, ge=1, description="requests of all models together, running and waiting; beyond it: 503"
    )
    memory_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="most of the machine's memory that all loaded models may need; unset: no such bound",
    )
    memory_reserve_bytes: int | None = Field(
        None,
        ge=0,
        description="memory left to everything else; idle models go when less is free; unset: 10%, 0.5 to 4 GiB",
    )
    prefill_chunk_tokens: int = Field(
        128, ge=16, le=8192, description="tokens of a prompt that are read between two tokens of other answers"
    )
    max_itl_ms: int = Field(
        110, ge=10, le=110, description="most that a piece of a prompt may add to the time between two tokens of others"
    )
    draft_tokens: int = Field(
        8, ge=0, le=32, description="tokens guessed from the text so far and checked at once, where it pays; 0: none"
    )
    tune_time_s: float = Field(
        60, ge=1, le=3600, description="`slmreg tune` begins no further measurement after so long"
    )
    kept_prefixes: int = Field(
        8, ge=0, le=256, description="finished conversations per model that are kept for what continues them; 0: none"
    )
    engine: Literal["auto", "generator", "batched"] = Field(
        "auto", description="what runs a model: auto batches requests wherever that gives the same tokens"
    )

    keep_alive: KeepAlive = Field(
        600, description='how long an idle model stays loaded: seconds, "5m", 0 (not at all), -1 (for ever)'
    )
    keep_alive_models: dict[str, KeepAlive] = Field(
        {}, max_length=MAX_GLOBS, description='the same by glob of the model: `{"phi-4*" = "1h"}`'
    )
    keep_alive_tasks: dict[Task, KeepAlive] = Field({}, description='the same by task: `{"code" = "30m"}`')
    models: dict[str, ModelOverride] = Field(
        {}, max_length=MAX_GLOBS, description='for some models alone, by glob: `{"phi-4*" = {threads = 4}}`'
    )
    warm_tasks: tuple[Task, ...] = Field(
        (Task.CHAT,), description="tasks whose best model is loaded from the start and stays; `none` for none"
    )
    auto_swap: bool = Field(True, description="load the new best model of a warm task as soon as there is one")
    spare_worker: bool = Field(True, description="keep a process ready, so that a load does not wait for its start")

    policy: Policy = Field(Policy.BALANCED, description="what waiting weighs against quality: fast, balanced, quality")
    allow: tuple[str, ...] = Field(
        (), max_length=MAX_GLOBS, description="globs of the only models that may be chosen; empty: all"
    )
    deny: tuple[str, ...] = Field((), max_length=MAX_GLOBS, description="globs of models that are never chosen")
    model_points: dict[str, Points] = Field(
        {}, max_length=MAX_GLOBS, description='points that a choice adds, by glob: `{"phi-4*" = 3}`'
    )
    license_points: dict[str, Points] = Field(
        {}, max_length=MAX_GLOBS, description='points by glob on the licence: `{"*-nc-*" = -20}`'
    )
    max_selections: int = Field(256, ge=0, le=10_000, description="choices kept for `/slmreg/selections/{id}`")

    load_timeout_s: float = Field(300, gt=0, description="a load that takes longer has failed")
    queue_timeout_s: float = Field(120, gt=0, description="a request that waits longer for its turn gets 429")
    request_timeout_s: float = Field(600, gt=0, description="an answer that takes longer is ended")
    drain_timeout_s: float = Field(30, gt=0, description="time for running answers to finish when the daemon stops")
    evict_timeout_s: float = Field(
        120, gt=0, description="time for running answers to finish when their model has to make room for another"
    )
    hang_timeout_s: float = Field(
        120, ge=5, description="a model's process that says nothing for so long hangs, and is ended"
    )
    failed_retry_s: float = Field(
        15, ge=0, description="time until a model that failed to load is tried again; twice as long each time it fails"
    )

    settle_s: float = Field(1.0, ge=0.05, description="a new folder counts once its files were still for this long")
    rescan_s: float = Field(900, ge=1, description="time between full rescans, which find what events missed")
    max_events: int = Field(1000, ge=1, le=100_000, description="events kept for clients that come back")
    max_subscribers: int = Field(32, ge=1, le=1000, description="clients that may follow the events; beyond it: 429")
    heartbeat_s: float = Field(15, ge=0.05, description="a follower hears something at least this often")
    max_responses: int = Field(
        1000, ge=0, le=100_000, description="answers of `/v1/responses` that are kept to go on from; 0: none"
    )
    max_responses_bytes: int = Field(
        256 * 1024 * 1024, ge=0, description="most text of those; beyond it the oldest are forgotten"
    )
    response_ttl_s: float = Field(2_592_000, ge=0, description="how long they are kept")

    @field_validator("allow", "deny", "warm_tasks", mode="before")
    @classmethod
    def _from_commas(cls, items: object) -> object:
        """The environment has no lists."""
        if isinstance(items, str):
            if items.strip().lower() == "none":
                return ()
            return tuple(item.strip() for item in items.split(",") if item.strip())
        return items

    @field_validator("model_points", "license_points", "keep_alive_models", "keep_alive_tasks", "models", mode="before")
    @classmethod
    def _from_json(cls, table: object) -> object:
        """Nor has it tables."""
        return json.loads(table) if isinstance(table, str) else table
