"""The bodies and queries of requests to ``/slmreg``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.admin import MOST_NOTES
from daemon.api.fields import KeepAliveField
from daemon.bounds import MAX_BYTES, MAX_CONTEXT_TOKENS, MAX_SECONDS
from daemon.model_query import ModelQuery, SortKey
from registry.model import ExecutionProvider, Fallback, Source, Status, Task
from selector.policy import Policy

MAX_PAGE = 100_000
MAX_NAME = 512

Globs = Annotated[tuple[Annotated[str, Field(max_length=MAX_NAME)], ...], Field(max_length=100)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelsQuery(Body):
    """Which models, in what order, and how many of them; what is left out leaves nothing out."""

    task: Task | None = Field(None, description="only those that can do it")
    status: Status | None = Field(None, description="ready: only those that can be used")
    execution_provider: ExecutionProvider | None = None
    source: Source | None = Field(None, description="where it was found")
    name: str | None = Field(None, max_length=MAX_NAME, description="a glob for the id, name or alias, in any case")
    loaded: bool | None = Field(None, description="only those that are, or are not, in memory")
    pinned: bool | None = Field(None, description="only those that are, or are not, pinned for a task")
    sort: SortKey = Field(SortKey.ID, description="a minus is from the largest, or from Z, down")
    limit: int = Field(MAX_PAGE, ge=1, le=MAX_PAGE)
    offset: int = Field(0, ge=0, le=MAX_PAGE)

    def as_query(self) -> ModelQuery:
        return ModelQuery(
            task=self.task,
            status=self.status,
            execution_provider=self.execution_provider,
            source=self.source,
            name=self.name,
            is_loaded=self.loaded,
            is_pinned=self.pinned,
            sort=self.sort,
        )


class SelectBody(Body):
    """What a choice has to meet; see ``selector.selection.SelectionRequest``."""

    task: str
    context_tokens: int | None = Field(None, ge=1, le=MAX_CONTEXT_TOKENS, description="prompt and answer together")
    tools: bool = Field(False, description="only models that can call tools")
    vision: bool = Field(False, description="only models that take images")
    json_output: bool = Field(False, alias="json", description="only models that can write JSON")
    language: str | None = Field(None, pattern="^[a-z]{2}$", description="ISO 639-1 code of a language it has to know")
    max_memory_bytes: int | None = Field(None, ge=0, le=MAX_BYTES, description="the most that it may need")
    deadline_s: float | None = Field(
        None, gt=0, le=MAX_SECONDS, allow_inf_nan=False, description="the most that a whole answer may take"
    )
    allow: Globs = Field((), description="globs of the only models that count")
    deny: Globs = Field((), description="globs of models that do not count")
    thinking: bool | None = Field(None, description="only models that do, or do not, reason before they answer")
    policy: Policy | None = Field(None, description="what waiting weighs against quality")
    limit: int | None = Field(None, ge=0, description="so much of the ranking and of what was rejected; absent: all")


class PinBody(Body):
    task: str
    model: str = Field(max_length=MAX_NAME, description="an id, name, alias, or a glob: the newest that fits it")
    fallback: Fallback = Field(Fallback.ERROR, description="when it cannot serve: an error, or what slmreg chooses")


class EvaluationBody(Body):
    """A rating, or ``passed`` items ``of`` so many."""

    model: str = Field(max_length=MAX_NAME)
    task: str
    rating: int | None = Field(None, strict=True, description="from 1 (useless) to 5 (perfect)")
    passed: int | None = Field(None, strict=True, description="items of a test that were passed")
    of: int | None = Field(None, strict=True, description="items of the test")
    thinking: bool | None = Field(None, description="whether it reasoned before it answered")
    notes: str = Field("", max_length=MOST_NOTES)


class ModelBody(Body):
    model: str = Field(max_length=MAX_NAME)


class LoadBody(ModelBody):
    force: bool = Field(False, description="load it although the estimate says that it does not fit")
    pin_loaded: bool = Field(False, description="keep it in memory until it is unloaded, whatever else needs room")
    keep_alive: KeepAliveField | None = Field(
        None,
        description='how long it stays unused: seconds, "5m", 0, -1 (for ever); absent: as the settings say',
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> LoadBody:
        if self.pin_loaded and self.keep_alive is not None:
            raise ValueError("what is pinned in memory stays; leave out keep_alive or pin_loaded")
        return self


class UnloadBody(ModelBody):
    now: bool = Field(False, description="break off running answers instead of waiting for their ends")
