"""What a request says about the choice of a model, and what follows: task, room for the prompt, reasoning or not."""

from __future__ import annotations

from dataclasses import dataclass

from daemon import lenience
from registry.errors import InvalidRequest, UnknownTask, UnsupportedParameter
from registry.model import Model, Task
from selector.policy import Policy
from selector.utility import PROFILES

AUTO = "auto"
# Estimates of prompts are rounded up to this.
ESTIMATE_STEP = 1024


@dataclass(frozen=True, slots=True)
class Wants:
    """What a request says about the choice of a model.

    ``task`` and ``policy`` are what somebody asked for; ``turns`` the texts of the user's messages, oldest first, by
    which slmreg tells the task otherwise; ``context_tokens`` an estimate of prompt and answer together; ``not_these``
    the ids of models that were tried for it already.
    """

    needs_tools: bool = False
    needs_vision: bool = False  # there are pictures in it
    task: Task | None = None
    policy: Policy | None = None
    thinking: bool | None = None
    turns: tuple[str, ...] = ()
    context_tokens: int | None = None
    is_in_tool_loop: bool = False
    not_these: tuple[str, ...] = ()


NO_WANTS = Wants()


def is_auto(reference: str) -> bool:
    """Whether slmreg is to choose: ``auto``, or ``auto:<task>``."""
    wanted = reference.strip().lower()
    return wanted == AUTO or wanted.startswith(f"{AUTO}:")


def parse_task(name: str, *, param: str = "task") -> Task:
    """Raises UnknownTask, which lists the tasks."""
    try:
        return Task(name)
    except ValueError:
        raise UnknownTask(f"There is no task {name!r}. Tasks: {', '.join(Task)}.", param=param) from None


def parse_policy(name: str) -> Policy:
    """Raises InvalidRequest, which lists the policies."""
    try:
        return Policy(name.strip().lower())
    except ValueError:
        raise InvalidRequest(f"There is no policy {name!r}. Policies: {', '.join(Policy)}.", param="policy") from None


def task_for(reference: str, wants: Wants) -> tuple[Task, str]:
    """The task of a request for ``auto``, and why: named in the model, else beside it, else told from the request."""
    if ":" in reference:
        return parse_task(reference.partition(":")[2], param="model"), "asked for as the model"
    if wants.task is not None:
        return wants.task, "asked for"
    from selector.classify import classify

    found = classify(wants.turns, has_tools=wants.needs_tools, has_images=wants.needs_vision)
    return found.task, found.because


def context_for(task: Task, wants: Wants, limit_tokens: int) -> int | None:
    """Room for a long prompt, in steps, so that few different requests are appraised; None for the task's own."""
    least = PROFILES[task].least_context_tokens
    if wants.context_tokens is None or wants.context_tokens <= least or limit_tokens <= least:
        return None
    return min(-(-wants.context_tokens // ESTIMATE_STEP) * ESTIMATE_STEP, limit_tokens)


def thinking_for(model: Model, wants: Wants) -> bool | None:
    """Raises UnsupportedParameter for a model that cannot be told whether to reason."""
    if wants.thinking is None or model.has_thinking_switch:
        return wants.thinking
    if wants.thinking is not model.can_reason and not lenience.leave_out("reasoning_effort"):
        does = "always reasons" if model.can_reason else "does not reason"
        raise UnsupportedParameter(
            f"{model.id} {does} before it answers. Leave 'reasoning_effort' out.", param="reasoning_effort"
        )
    return None
