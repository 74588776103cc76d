"""Every route of Ollama's API."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from daemon.answers import Answers
from daemon.api.ollama.answering import answering_router
from daemon.api.ollama.cards import Cards
from daemon.api.ollama.embedding import embedding_router
from daemon.api.ollama.library import library_router
from daemon.api.ollama.presets import creating_router
from daemon.catalog import Catalog
from daemon.loads import Loads
from daemon.pool.pool import SessionPool


def ollama_router(
    answers: Answers,
    loads: Loads,
    catalog: Catalog,
    pool: SessionPool,
    *,
    max_messages: Callable[[], int],
) -> APIRouter:
    router = APIRouter()
    router.include_router(answering_router(answers, loads, max_messages=max_messages))
    router.include_router(embedding_router(answers, loads))
    router.include_router(library_router(catalog, pool, Cards(catalog)))
    router.include_router(creating_router(catalog.presets))
    return router
