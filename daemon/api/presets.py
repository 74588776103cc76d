"""``/slmreg/presets``: names that people give to models together with a way to use them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from daemon.admin import Admin
from daemon.api.admin_bodies import MAX_NAME, Body
from daemon.shapes import Json


class PresetBody(Body):
    name: str = Field(max_length=MAX_NAME)
    base: str = Field(alias="from", max_length=MAX_NAME, description="a model, auto, auto:<task>, or another preset")
    system: str = Field("", description="goes in front of every chat that has no system message")
    parameters: dict[str, Any] = Field({}, description="Ollama's options, for requests that leave them out")
    messages: tuple[dict[str, Any], ...] = Field((), description="role and content of what goes in front of every chat")


def presets_router(admin: Admin) -> APIRouter:
    """Plain functions: they touch the disk, and run in threads off the event loop."""
    router = APIRouter(prefix="/slmreg", tags=["slmreg"])

    @router.get("/presets")
    def list_presets() -> Json:
        """Names that people gave to models together with a way to use them."""
        return {"data": admin.presets()}

    @router.get("/presets/{name:path}")
    def get_preset(name: str) -> Json:
        """One of them, with the model that it means now."""
        return admin.preset(name)

    @router.post("/presets")
    def create_preset(body: PresetBody) -> Json:
        """Keep a preset, in place of an older one with this name."""
        return admin.create_preset(
            body.name, body.base, system=body.system, parameters=body.parameters, messages=body.messages
        )

    @router.delete("/presets/{name:path}")
    def remove_preset(name: str) -> Json:
        """Forget a preset; the model stays as it is."""
        return admin.remove_preset(name)

    return router
