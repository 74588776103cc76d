"""What the pool says about itself: sessions as ``slmreg ps`` shows them, and refusals in words with their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from daemon.pool.limits import PoolLimits
from daemon.pool.protocol import Pulse
from daemon.pool.session import Session, SessionState
from registry.errors import LoadFailed, ModelInUse, OutOfBudget, Overloaded, TooBusy
from registry.model import Model, Task
from selector.footprint import format_bytes

# What a worker answers at the same time, at least, where that is left to it.
LEAST_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """One session at one moment, as ``slmreg ps`` shows it.

    ``promised_bytes`` is what it may still take. ``expires_s``: seconds until it is unloaded if nobody uses it; None:
    it stays, or is in use. ``engine_reason``: why its engine is not the batched one. ``kv_token_bytes``: what one token
    of a request takes, if that is known. ``is_kept``: a person loaded it to stay. ``cores``: the logical CPUs it is
    held to; () is all. ``max_concurrent`` is how many requests it answers at the same time. The last four are those of
    ``daemon.pool.protocol.Pulse``, a second old at most.
    """

    model_id: str
    state: SessionState
    pid: int | None
    resident_bytes: int
    promised_bytes: int
    active: int
    queued: int
    device: str
    threads: int
    context_tokens: int
    idle_s: float
    failure: str | None
    failure_kind: str | None
    retry_s: float | None
    engine: str | None
    engine_reason: str | None
    kv_token_bytes: int | None
    template_source: str | None
    expires_s: float | None
    is_kept: bool
    warm_for: tuple[Task, ...]
    cores: tuple[int, ...]
    max_concurrent: int
    row_tokens: tuple[int, ...]
    kept_tokens: tuple[int, ...]
    reserved_tokens: int
    cache_tokens: int


def at_once(session: Session | None, limits: PoolLimits) -> int:
    """How many requests it answers at the same time; before it has said so, the fewest that it may be."""
    said = session.ready.max_concurrent if session is not None and session.ready is not None else 0
    return said or limits.max_concurrent or LEAST_AT_ONCE


def snapshot_of(
    session: Session, *, resident_bytes: int, promised_bytes: int, waiting: int, limits: PoolLimits, now_s: float
) -> SessionSnapshot:
    """``waiting``: requests that have no lease yet."""
    worker, failure, ready = session.worker, session.failure, session.ready
    rows, pulse = at_once(session, limits), worker.pulse if worker is not None else Pulse()
    has_failed = session.state is SessionState.FAILED and failure is not None
    return SessionSnapshot(
        model_id=session.model.id,
        state=session.state,
        pid=worker.pid if worker is not None else None,
        resident_bytes=resident_bytes,
        promised_bytes=promised_bytes,
        active=min(session.leases, rows),
        queued=waiting + max(0, session.leases - rows),
        device=session.model.device,
        threads=session.plan.threads,
        context_tokens=session.plan.context_tokens,
        idle_s=max(0.0, now_s - session.last_used_s) if session.is_idle else 0.0,
        failure=failure.message if has_failed and failure is not None else None,
        failure_kind=str(failure.kind) if has_failed and failure is not None else None,
        retry_s=max(0.0, failure.retry_at_s - now_s) if has_failed and failure is not None else None,
        engine=ready.engine if ready is not None else None,
        engine_reason=(ready.engine_reason or None) if ready is not None else None,
        kv_token_bytes=_kv_token_bytes(session),
        template_source=ready.template_source if ready is not None else None,
        expires_s=session.expires_in_s(now_s),
        is_kept=session.is_kept,
        warm_for=session.warm_for,
        cores=session.cores,
        max_concurrent=rows,
        row_tokens=tuple(pulse.row_tokens),
        kept_tokens=tuple(pulse.kept_tokens),
        reserved_tokens=pulse.reserved_tokens,
        cache_tokens=pulse.cache_tokens,
    )


def _kv_token_bytes(session: Session) -> int | None:
    """As the engine says it; else what the files say."""
    if session.ready is None:
        return None
    return session.ready.kv_token_bytes or session.model.kv_bytes_per_token or None


def queue_is_full(model: Model, waiting: int, limits: PoolLimits, retry_after_s: float) -> Overloaded:
    return Overloaded(
        f"{model.id} has {waiting} requests already, and max_queue is {limits.max_queue}. Try again in "
        f"{retry_after_s:.0f} s.",
        retry_after_s=retry_after_s,
    )


def queues_are_full(waiting: int, limits: PoolLimits, retry_after_s: float) -> TooBusy:
    return TooBusy(
        f"All models together have {waiting} requests already, and max_queue_total is {limits.max_queue_total}. Try "
        f"again in {retry_after_s:.0f} s.",
        retry_after_s=retry_after_s,
    )


def still_failed(session: Session, now_s: float) -> LoadFailed:
    failure = session.failure
    wait_s = max(0.0, failure.retry_at_s - now_s) if failure is not None else 0.0
    again = f" It is tried again in {wait_s:.0f} s." if wait_s else ""
    why = failure.message if failure is not None else "It failed."
    return LoadFailed(f"{session.model.id} is not available: {why}{again}", retry_after_s=wait_s)


def could_not_grow(session: Session, now_s: float) -> LoadFailed:
    """Its context is too short for a request, and another session could not take over from it."""
    failure = session.failure
    wait_s = max(0.0, failure.retry_at_s - now_s) if failure is not None else 0.0
    why = failure.message if failure is not None else "It failed."
    return LoadFailed(
        f"{session.model.id} is loaded with {session.plan.context_tokens} tokens of context, and could not be loaded "
        f"with more: {why} That is tried again in {wait_s:.0f} s.",
        retry_after_s=wait_s,
    )


def cannot_fit(
    session: Session, free_bytes: int, others: Iterable[Session], retry_after_s: float | None
) -> OutOfBudget:
    """``free_bytes`` could be had even with everything unloaded that may be."""
    present = list(others)
    busy = _names(each for each in present if each.leases)
    kept = _names(each for each in present if each.is_kept)
    held = "; ".join(f"{what}: {names}" for what, names in (("busy", busy), ("kept loaded", kept)) if names)
    return OutOfBudget(
        f"{session.model.id} needs {format_bytes(session.plan.need_bytes)} and {format_bytes(max(0, free_bytes))} can "
        f"be had, with every other model unloaded that may be{f' ({held})' if held else ''}. Close other programs, "
        "unload a model that is kept, raise memory_budget_bytes, or choose a smaller model.",
        retry_after_s=retry_after_s,
    )


def waited_too_long(model: Model, sessions: Sequence[Session], limits: PoolLimits, retry_after_s: float) -> Overloaded:
    busy = _names(each for each in sessions if each.leases) or "nothing"
    return Overloaded(
        f"{model.id} was not free within queue_timeout_s = {limits.queue_timeout_s:g} s (busy: {busy}).",
        retry_after_s=retry_after_s,
    )


def _names(sessions: Iterable[Session]) -> str:
    return ", ".join(sorted({session.model.id for session in sessions}))


def in_use(model_id: str, why: str) -> ModelInUse:
    return ModelInUse(
        f"{model_id} stays loaded: {why}. Unload it with a key of the scope admin, or let its keep-alive end."
    )
