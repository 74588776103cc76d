"""How a model would be loaded now: context, threads, expected bytes, and how long it stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from daemon.choosing import Chooser, memory_budget
from daemon.machine import Machine
from daemon.model_overrides import override_of
from daemon.pool.plan import LoadPlan
from daemon.settings import Settings
from daemon.tuning import rows_in
from registry.errors import ContextLengthExceeded, OutOfBudget
from registry.model import Model, Task
from registry.store import Registry
from selector.budget import accelerator_bytes, available_bytes
from selector.filters import is_meant
from selector.footprint import CONTEXT_STEP, footprint, format_bytes, longest_context, need_bytes
from selector.hardware import Hardware
from selector.selection import SessionFacts

# Of a model that is loaded although it should not fit.
FORCED_CONTEXT_TOKENS = 2048


class Planner:
    """Safe to use from several threads."""

    def __init__(
        self,
        registry: Registry,
        machine: Machine,
        settings: Callable[[], Settings],
        chooser: Chooser,
        *,
        is_proven: Callable[[Model], bool | None] = lambda _model: None,
    ) -> None:
        """``is_proven``: whether the batched engine is known to run a model as the generator does."""
        self._registry = registry
        self._machine = machine
        self._settings = settings
        self._chooser = chooser
        self._is_proven = is_proven

    def plan(self, model: Model, task: Task | None = None, *, is_forced: bool = False) -> LoadPlan:
        """Context, threads and expected bytes for loading ``model`` now, and how long it stays after a ``task``.

        Raises OutOfBudget with the numbers.

        A model that is loaded is never out of budget: its memory is there already. Where idle sessions do not give back
        enough, busy ones will when they are done, and only those that are kept loaded never. ``is_forced``: load it, at
        the least context, although the estimate says that it does not fit.
        """
        hardware, sessions = self._machine.hardware(), self._chooser.sessions()
        threads = self._chooser.threads_for(model, hardware)
        loaded_bytes = self._chooser.loaded_bytes(model, threads)
        available = self._available_bytes(model, hardware, sessions)
        if longest_context(model, available, loaded_bytes=loaded_bytes) == 0:
            in_time = [replace(session, is_reclaimable=not session.is_kept) for session in sessions]
            available = self._available_bytes(model, hardware, in_time)
        context = min(longest_context(model, available, loaded_bytes=loaded_bytes), self.most_context_tokens(model))
        does_fit = context > 0 or any(session.model_id == model.id for session in sessions)
        if not does_fit and not is_forced:
            need = footprint(model, CONTEXT_STEP, loaded_bytes=loaded_bytes)
            kept = ", ".join(sorted(session.model_id for session in sessions if session.is_kept))
            raise OutOfBudget(
                f"{model.id} needs {need}; {format_bytes(available)} are available beside the reserve"
                f"{f' and what is kept loaded ({kept})' if kept else ''}. Close other programs, raise "
                "memory_budget_bytes, choose a smaller model, or `slmreg load --force` it."
            )
        if not does_fit:
            context = min(FORCED_CONTEXT_TOKENS, self.most_context_tokens(model), model.context_tokens)
        plan = LoadPlan(
            # A loaded session that goes away before it is used is loaded again with this.
            context_tokens=max(context, min(CONTEXT_STEP, model.context_tokens)),
            threads=threads,
            need_bytes=need_bytes(model, context, loaded_bytes=loaded_bytes),
            allowed_libraries=self._allowed_libraries(model),
            is_forced=is_forced and not does_fit,
            keep_alive_s=self.keep_alive_s(model, task),
            timed_for=task,
            is_proven=self._is_proven(model),
        )
        return self._as_tuned(model, plan)

    def _as_tuned(self, model: Model, plan: LoadPlan) -> LoadPlan:
        """``plan`` with what was found to be best, but for what somebody has set."""
        tuned, is_set = self._chooser.tuned(model), self._settings().model_fields_set
        if tuned is None:
            return plan
        rows = None if tuned.max_concurrent is None else rows_in(plan.context_tokens, tuned.max_concurrent)
        return replace(
            plan,
            max_concurrent=rows if self._settings().max_concurrent is None else None,
            prefill_chunk_tokens=None if "prefill_chunk_tokens" in is_set else tuned.prefill_chunk_tokens,
        )

    def plan_longer(
        self, model: Model, plan: LoadPlan, too_long: ContextLengthExceeded, *, answer_tokens: int
    ) -> LoadPlan:
        """``plan`` with a context for a prompt that the loaded session has turned away, and ``answer_tokens`` after it.

        It leaves room for the session itself, where there is enough for both with what idle ones give back. Raises
        ContextLengthExceeded with the most that can be had of model, settings and memory.
        """
        limit = min(model.context_tokens, self.most_context_tokens(model))
        if too_long.context_tokens >= limit:
            raise too_long
        least = too_long.prompt_tokens + min(answer_tokens, 1)
        wanted = min(too_long.prompt_tokens + answer_tokens, limit)
        loaded_bytes = self._chooser.loaded_bytes(model, plan.threads)
        beside, *alone = (min(tokens, limit) for tokens in self._longest(model, loaded_bytes))
        # Beside it twice what is wanted: a conversation that grows is not to be loaded again at each turn.
        context = min(beside, 2 * _in_steps(wanted)) if beside >= wanted else next((n for n in alone if n >= least), 0)
        if context < least:
            raise _cannot_be_had(model, too_long, max(too_long.context_tokens, beside, *alone))
        return replace(
            plan,
            context_tokens=context,
            least_context_tokens=least,
            need_bytes=need_bytes(model, context, loaded_bytes=loaded_bytes),
            is_forced=False,
        )

    def most_context_tokens(self, model: Model) -> int:
        """For which a session of ``model`` is ever sized, by the settings."""
        settings = self._settings()
        return override_of(model, settings.models).override.context_tokens or settings.max_context_tokens

    def _longest(self, model: Model, loaded_bytes: int | None) -> tuple[int, int, int]:
        """Contexts that fit: beside the model's own session; instead of it; and once all who may go have answered."""
        hardware, sessions = self._machine.hardware(), self._chooser.sessions()
        own = [replace(each, is_reclaimable=False) if each.model_id == model.id else each for each in sessions]
        in_time = [replace(each, is_reclaimable=not each.is_kept) for each in sessions]
        beside, alone, last = (
            longest_context(model, available, loaded_bytes=loaded_bytes)
            for available in (
                self._available_bytes(model, hardware, own, is_beside=True),
                self._available_bytes(model, hardware, sessions),
                self._available_bytes(model, hardware, in_time),
            )
        )
        return beside, alone, last

    def _available_bytes(
        self, model: Model, hardware: Hardware, sessions: Sequence[SessionFacts], *, is_beside: bool = False
    ) -> int:
        """``is_beside``: its own session keeps what it has."""
        on_device = accelerator_bytes(hardware, model)
        if on_device is not None:
            return on_device
        return available_bytes(
            hardware,
            sessions,
            for_model=None if is_beside else model.id,
            memory_budget_bytes=memory_budget(self._settings(), lambda: hardware),
            memory_reserve_bytes=self._settings().memory_reserve_bytes,
        )

    def keep_alive_s(self, model: Model, task: Task | None) -> float | None:
        """By the settings: for the model, else for the task, else for all; None is for ever."""
        settings = self._settings()
        override = override_of(model, settings.models).override
        if override.has_keep_alive:
            return override.keep_alive
        for pattern, seconds in settings.keep_alive_models.items():
            if is_meant(model, pattern):
                return seconds
        return settings.keep_alive if task is None else settings.keep_alive_tasks.get(task, settings.keep_alive)

    def _allowed_libraries(self, model: Model) -> tuple[str, ...]:
        """SHA-256 digests, for a model that has a library of custom operators."""
        return tuple(sorted(self._registry.allowed_libraries())) if model.custom_ops_library is not None else ()


def _in_steps(tokens: int) -> int:
    return -(-tokens // CONTEXT_STEP) * CONTEXT_STEP


def _cannot_be_had(model: Model, too_long: ContextLengthExceeded, most_tokens: int) -> ContextLengthExceeded:
    here = "" if most_tokens >= model.context_tokens else f" here (by itself {model.context_tokens})"
    message = (
        f"The prompt has {too_long.prompt_tokens} tokens, and {model.id} takes at most {most_tokens} tokens of prompt "
        f"and answer together{here}. Shorten it, choose a model with a longer context or a smaller one, or make room: "
        "close other programs, raise memory_budget_bytes or max_context_tokens."
    )
    param = too_long.param or "messages"
    return ContextLengthExceeded(too_long.prompt_tokens, most_tokens, message=message, param=param)
