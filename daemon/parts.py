"""``Parts``: what a running daemon is made of, and what each part knows of the others.

Invariant: nothing else builds these objects, and nothing is global: two daemons can live in one process. No part is
given the value of a setting that may change, only a way to ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.access import Access
from daemon.answer_limits import AnswerLimits
from daemon.answers import Answers
from daemon.catalog import Catalog
from daemon.choosing import memory_budget
from daemon.config.present import Derived, PresentSettings
from daemon.conversations import Bounds, Conversations
from daemon.events import EventLog
from daemon.learner import Learner
from daemon.listing import Listing
from daemon.loads import Loads
from daemon.logs.logs import Logs
from daemon.machine import Machine
from daemon.metrics.book import Metrics
from daemon.metrics.gauges import Gauges
from daemon.paths import Paths
from daemon.pool.budget import MemoryMeter
from daemon.pool.launch import Launcher
from daemon.pool.limits import PoolLimits
from daemon.pool.observer import Observers
from daemon.pool.pool import SessionPool
from daemon.proofs import Proofs, installed_runtime
from daemon.session_facts import held_back, session_facts
from daemon.session_news import SessionNews
from daemon.settings import Settings
from daemon.tuner import Tuner
from daemon.unwritten import Unwritten
from daemon.warm import WarmSet
from registry.store import Registry
from selector.budget import headroom_bytes
from selector.hardware.processes import peak_bytes, resident_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What is kept on the disk; ``unwritten`` knows what of it could not be written yet."""

    registry: Registry
    conversations: Conversations
    unwritten: Unwritten


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Who takes note of what happens: by model, as ``events`` for whoever follows them, and in numbers."""

    learner: Learner
    proofs: Proofs
    events: EventLog
    news: SessionNews
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All of them, wired together; none of them runs yet."""

    settings: PresentSettings
    launcher: Launcher
    storage: Storage
    access: Access
    records: Records
    machine: Machine
    pool: SessionPool
    warm: WarmSet
    catalog: Catalog
    listing: Listing
    answers: Answers
    loads: Loads
    tuner: Tuner
    gauges: Gauges


def build_parts(
    settings: PresentSettings,
    paths: Paths,
    environment: Mapping[str, str],
    launcher: Launcher,
    *,
    command_line_key: str | None,
    logs: Logs,
) -> Parts:
    """Raises DatabaseError if the registry cannot be opened."""
    storage = _storage(settings, paths)
    records = _records(settings, storage)
    machine = Machine(paths.hardware_cache)
    pool = _pool(settings, machine, launcher, records)
    warm = _warm(settings, pool, records)
    catalog = _catalog(settings, environment, storage.registry, machine, pool=pool, warm=warm, records=records)
    return Parts(
        settings=settings,
        launcher=launcher,
        storage=storage,
        access=_access(settings, storage.registry, command_line_key),
        records=records,
        machine=machine,
        pool=pool,
        warm=warm,
        catalog=catalog,
        listing=Listing(),
        answers=_answers(settings, catalog, pool, records),
        loads=Loads(catalog, pool),
        tuner=Tuner(catalog, pool, catalog.tunings, within_s=lambda: settings().tune_time_s),
        gauges=_gauges(catalog, pool, records, logs),
    )


def _storage(settings: PresentSettings, paths: Paths) -> Storage:
    def bounds(now: Settings) -> Bounds:
        return Bounds(now.max_responses, now.max_responses_bytes, now.response_ttl_s)

    unwritten = Unwritten()
    return Storage(
        registry=Registry.open(paths.database),
        conversations=Conversations(paths.conversations, Derived(settings, bounds), unwritten=unwritten),
        unwritten=unwritten,
    )


def _access(settings: PresentSettings, registry: Registry, command_line_key: str | None) -> Access:
    return Access(
        registry.api_keys,
        requires_key=lambda: settings().require_key or settings().is_public,
        command_line_key=command_line_key,
    )


def _records(settings: PresentSettings, storage: Storage) -> Records:
    registry = storage.registry
    record = storage.unwritten.watching("measurements", registry.record_measurements)
    events = EventLog(max_events=lambda: settings().max_events, max_followers=lambda: settings().max_subscribers)
    return Records(
        learner=Learner(record, registry.measurements()),
        proofs=Proofs(registry.record_engine_proof, registry.engine_proofs(), runtime=installed_runtime()),
        events=events,
        news=SessionNews(events),
        metrics=Metrics(),
    )


def _pool(settings: PresentSettings, machine: Machine, launcher: Launcher, records: Records) -> SessionPool:
    def headroom() -> int:
        return headroom_bytes(machine.hardware(), settings().memory_reserve_bytes)

    return SessionPool(
        launcher,
        Derived(settings, lambda now: _limits(now, memory_budget(now, machine.hardware))),
        MemoryMeter(headroom, resident_bytes, peak_bytes),
        observer=Observers((records.learner, records.proofs, records.news, records.metrics)),
    )


def _limits(settings: Settings, budget_bytes: int | None) -> PoolLimits:
    return PoolLimits(
        budget_bytes=budget_bytes,
        max_concurrent=settings.max_concurrent,
        max_queue=settings.max_queue,
        load_timeout_s=settings.load_timeout_s,
        queue_timeout_s=settings.queue_timeout_s,
        drain_timeout_s=settings.drain_timeout_s,
        failed_retry_s=settings.failed_retry_s,
        max_queue_total=settings.max_queue_total,
        evict_timeout_s=settings.evict_timeout_s,
        prefill_chunk_tokens=settings.prefill_chunk_tokens,
        kept_prefixes=settings.kept_prefixes,
        max_itl_ms=settings.max_itl_ms,
        draft_tokens=settings.draft_tokens,
        engine=settings.engine,
    )


def _warm(settings: PresentSettings, pool: SessionPool, records: Records) -> WarmSet:
    return WarmSet(
        pool,
        lambda: settings().warm_tasks,
        is_swapping=lambda: settings().auto_swap,
        on_swap=records.news.swapped,
    )


def _catalog(
    settings: PresentSettings,
    environment: Mapping[str, str],
    registry: Registry,
    machine: Machine,
    *,
    pool: SessionPool,
    warm: WarmSet,
    records: Records,
) -> Catalog:
    return Catalog(
        registry,
        machine,
        settings,
        environment,
        lambda: session_facts(pool.snapshot()),
        measurements=records.learner.measurements,
        latest=records.learner.latest,
        setbacks=records.learner.setbacks,
        held_back=lambda: held_back(pool.snapshot()),
        stand_in=warm.stand_in,
        is_proven=records.proofs.find,
    )


def _answers(settings: PresentSettings, catalog: Catalog, pool: SessionPool, records: Records) -> Answers:
    return Answers(
        catalog,
        pool,
        records.learner,
        request_timeout_s=lambda: settings().request_timeout_s,
        limits=Derived(settings, lambda now: AnswerLimits(choices=now.max_choices, tokens=now.max_answer_tokens)),
        logs_prompts=lambda: settings().log_prompts,
        metrics=records.metrics,
    )


def _gauges(catalog: Catalog, pool: SessionPool, records: Records, logs: Logs) -> Gauges:
    return Gauges(
        metrics=records.metrics,
        sessions=pool.snapshot,
        models=catalog.models,
        problems=lambda: len(catalog.problems()),
        events=records.events.published,
        followers=lambda: records.events.followers,
        log_drops=lambda: logs.dropped,
    )
