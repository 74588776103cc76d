"""The whole application, listening in a thread of this process, with a model whose worker always says the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from daemon.app import create_app
from daemon.config.layers import Effective
from daemon.config.present import PresentSettings
from daemon.paths import Paths
from daemon.settings import Settings
from tests.fakes import FakeLauncher

PATIENCE_S = 60.0


@contextmanager
def listening(home: Path, **settings: Any) -> Iterator[str]:
    """Its URL, once it is ready. It knows the demo model, and nothing else of this machine."""
    environment = {"SLMREG_HOME": str(home), "SLMREG_FOUNDRY_CACHES": "", "SLMREG_HF_CACHE": ""}
    launcher = FakeLauncher(total_bytes=2**40)
    chosen = PresentSettings(Effective(Settings(warm_tasks=(), **settings)))
    app = create_app(chosen, Paths.from_environment(environment), environment, launcher)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield _ready(server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


def _ready(server: uvicorn.Server) -> str:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if server.started:
            (port,) = {sock.getsockname()[1] for each in server.servers for sock in each.sockets}
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return f"http://127.0.0.1:{port}"
        time.sleep(0.01)
    raise TimeoutError("the application did not become ready")
