"""Where a command gets its answers: from the running daemon over HTTP, or straight from the registry without one.

Both speak the contract's JSON shapes, so a command does not know which it has.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Protocol, Self
from urllib.parse import quote, urlencode

from daemon.cli.daemon_link import RunningDaemon, find_daemon
from daemon.model_query import EVERY_MODEL, ModelQuery
from daemon.paths import home_paths
from registry.errors import SlmregError

Json = dict[str, Any]
# A cold load of a large model from a slow disk; the daemon's own load_timeout_s ends it earlier by default.
HTTP_TIMEOUT_S = 900.0
# Where the HTTP API has another name for a field than we have.
_IN_JSON = {
    "needs_tools": "tools",
    "needs_vision": "vision",
    "needs_json": "json",
    "items": "of",
    "is_loaded": "loaded",
    "is_pinned": "pinned",
}


class Backend(Protocol):
    """What needs no loaded session. Every method raises SlmregError with a message for the person who asked."""

    def models(self, query: ModelQuery = EVERY_MODEL) -> list[Json]: ...
    def model(self, reference: str) -> Json: ...
    def problems(self) -> list[Json]: ...
    def scan(self) -> Json: ...
    def roots(self) -> list[Json]: ...
    def select(self, task: str, **wishes: Any) -> Json: ...
    def pins(self) -> list[Json]: ...
    def pin(self, task: str, reference: str, *, fallback: str = "error") -> Json: ...
    def unpin(self, task: str) -> None: ...
    def presets(self) -> list[Json]: ...
    def preset(self, name: str) -> Json: ...
    def create_preset(self, name: str, base: str, **said: Any) -> Json: ...
    def remove_preset(self, name: str) -> Json: ...
    def evaluate(self, reference: str, task: str, **said: Any) -> Json: ...
    def forget_evaluations(self, reference: str, task: str | None = None) -> Json: ...
    def hardware(self) -> Json: ...


class DaemonRefused(SlmregError):
    """The daemon answered with an error; ``message`` is its own."""

    code = "daemon_refused"


class HttpBackend:
    """Asks a daemon."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self._client = daemon.client(HTTP_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def models(self, query: ModelQuery = EVERY_MODEL) -> list[Json]:
        wanted = _parameters(query)
        models: list[Json] = []
        offset: int | None = 0
        while offset is not None:
            page = self._call("GET", f"/slmreg/models?{urlencode({**wanted, 'offset': offset})}")
            models += page["data"]
            offset = page["next"]
        return models

    def model(self, reference: str) -> Json:
        return self._object("GET", f"/slmreg/models/{quote(reference)}")

    def problems(self) -> list[Json]:
        return self._list("/slmreg/problems")

    def scan(self) -> Json:
        return self._object("POST", "/slmreg/scan")

    def roots(self) -> list[Json]:
        return self._list("/slmreg/roots")

    def select(self, task: str, **wishes: Any) -> Json:
        """``wishes`` are fields of ``selector.selection.SelectionRequest``."""
        return self._object("POST", "/slmreg/select", {"task": task, **_renamed(wishes)})

    def pins(self) -> list[Json]:
        return self._list("/slmreg/pins")

    def pin(self, task: str, reference: str, *, fallback: str = "error") -> Json:
        return self._object("POST", "/slmreg/pins", {"task": task, "model": reference, "fallback": fallback})

    def unpin(self, task: str) -> None:
        self._call("DELETE", f"/slmreg/pins/{quote(task, safe='')}")

    def presets(self) -> list[Json]:
        return self._list("/slmreg/presets")

    def preset(self, name: str) -> Json:
        return self._object("GET", f"/slmreg/presets/{quote(name)}")

    def create_preset(self, name: str, base: str, **said: Any) -> Json:
        return self._object("POST", "/slmreg/presets", {"name": name, "from": base, **said})

    def remove_preset(self, name: str) -> Json:
        return self._object("DELETE", f"/slmreg/presets/{quote(name)}")

    def evaluate(self, reference: str, task: str, **said: Any) -> Json:
        return self._object("POST", "/slmreg/evaluations", {"model": reference, "task": task, **_renamed(said)})

    def forget_evaluations(self, reference: str, task: str | None = None) -> Json:
        only = f"?task={quote(task, safe='')}" if task is not None else ""
        return self._object("DELETE", f"/slmreg/evaluations/{quote(reference)}{only}")

    def hardware(self) -> Json:
        return self._object("GET", "/slmreg/hardware")

    def sessions(self) -> list[Json]:
        sessions: list[Json] = self._call("GET", "/slmreg/sessions")
        return sessions

    def load(
        self, reference: str, *, force: bool = False, pin_loaded: bool = False, keep_alive: str | None = None
    ) -> Json:
        body = {"model": reference, "force": force, "pin_loaded": pin_loaded, "keep_alive": keep_alive}
        return self._object("POST", "/slmreg/load", body)

    def unload(self, reference: str, *, now: bool = False) -> Json:
        return self._object("POST", "/slmreg/unload", {"model": reference, "now": now})

    def tune(self, reference: str) -> Json:
        return self._object("POST", "/slmreg/tune", {"model": reference})

    def forget_tuning(self, reference: str) -> Json:
        return self._object("DELETE", f"/slmreg/tune/{quote(reference)}")

    def settings(self) -> Json:
        return self._object("GET", "/slmreg/settings")

    def reload_settings(self) -> Json:
        return self._object("POST", "/slmreg/settings/reload")

    def status(self) -> Json:
        return self._object("GET", "/slmreg/status")

    def change_log_levels(self, levels: dict[str, str | None]) -> dict[str, str]:
        """By logger; None is again as the settings say. What counts now."""
        now: dict[str, str] = self._object("PUT", "/slmreg/logs/levels", {"levels": levels})["levels"]
        return now

    def _object(self, method: str, path: str, body: Json | None = None) -> Json:
        answer: Json = self._call(method, path, body)
        return answer

    def _list(self, path: str) -> list[Json]:
        answer: list[Json] = self._call("GET", path)["data"]
        return answer

    def _call(self, method: str, path: str, body: Json | None = None) -> Any:
        import httpx

        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DaemonRefused(f"The daemon at {self._client.base_url} does not answer: {error}.") from error
        if answer.is_success:
            return answer.json()
        raise DaemonRefused(error_message(answer.text, answer.status_code))


def _parameters(query: ModelQuery) -> dict[str, str]:
    said = _renamed(asdict(query))
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in said.items()}


def _renamed(fields: Json) -> Json:
    """As the HTTP API calls them; what nobody said is left out."""
    return {_IN_JSON.get(name, name): value for name, value in fields.items() if value is not None}


@contextlib.contextmanager
def open_backend(*, is_fresh: bool = True) -> Iterator[Backend]:
    """The daemon of this home if one runs, else the registry itself.

    ``is_fresh``: look at the disk first where no daemon does so all the time. Unchanged folders are only listed.
    """
    running = find_daemon(home_paths().run_file)
    with HttpBackend(running) if running is not None else open_local(is_fresh=is_fresh) as backend:
        yield backend


@contextlib.contextmanager
def open_local(*, is_fresh: bool = True) -> Iterator[Any]:
    """The registry of this home, without a daemon, as ``daemon.admin.Admin``."""
    from daemon.admin import Admin
    from daemon.catalog import Catalog
    from daemon.config.layers import load_settings
    from daemon.machine import Machine
    from registry.store import Registry

    paths = home_paths()
    settings = load_settings(paths)
    with Registry.open(paths.database) as registry:
        catalog = Catalog(registry, Machine(paths.hardware_cache), lambda: settings, os.environ)
        if is_fresh:
            catalog.scan()
        yield Admin(catalog)


def error_message(text: str, status: int) -> str:
    """What an error response says, also one that is not ours."""
    import json

    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered with status {status}"
