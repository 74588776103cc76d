"""``/metrics``, for Prometheus; and the levels of the log, which can be changed while the daemon runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response
from pydantic import Field

from daemon.api.admin_bodies import Body
from daemon.log_settings import AnyCaseLevel
from daemon.logs.levels import Levels
from daemon.metrics.exposition import Exposition
from daemon.shapes import Json
from registry.errors import InvalidRequest

MAX_LEVELS = 100


class LevelsBody(Body):
    levels: dict[str, AnyCaseLevel | None] = Field(
        max_length=MAX_LEVELS, description="by logger; null: again as the settings say"
    )


def metrics_router(exposition: Exposition) -> APIRouter:
    """Plain function: it reads the registry, and runs in a thread off the event loop."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics")
    def metrics(accept: Annotated[str, Header()] = "") -> Response:
        """Counts and times since the daemon began, in Prometheus' format or OpenMetrics."""
        text, content_type = exposition.render(accept)
        return Response(text, headers={"Content-Type": content_type})

    return router


def logs_router(levels: Levels) -> APIRouter:
    router = APIRouter(prefix="/slmreg/logs", tags=["slmreg"])

    @router.get("/levels")
    async def get_levels() -> Json:
        """How much is logged now: by slmreg as a whole, and by its parts that have their own level."""
        return {"levels": levels.in_force()}

    @router.put("/levels")
    async def change_levels(body: LevelsBody) -> Json:
        """Log more or less, until the daemon ends."""
        try:
            levels.change(body.levels)
        except ValueError as error:
            raise InvalidRequest(f"{error}", param="levels") from error
        return {"levels": levels.in_force()}

    return router
