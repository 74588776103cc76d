"""``/slmreg/settings``: what goes for now, where it was said, and reading it anew."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter

from daemon.config.present import PresentSettings
from daemon.config.report import reloaded_json, settings_json
from daemon.shapes import Json


def settings_router(present: PresentSettings, path: Path) -> APIRouter:
    """``path`` is that of ``config.toml``. Plain functions: they read it, and run in threads off the event loop."""
    router = APIRouter(prefix="/slmreg/settings", tags=["slmreg"])

    @router.get("")
    def get_settings() -> Json:
        """Every setting with its value and origin, and when a change of it takes effect."""
        return settings_json(present.effective, path, waiting=present.waiting, problem=present.problem)

    @router.post("/reload")
    def reload_settings() -> Json:
        """Read ``config.toml`` anew; what is wrong with it is said, and then nothing changes."""
        return reloaded_json(present.reload())

    return router
