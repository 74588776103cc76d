from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# A new home, its first scan, and a choice that is written: all that brings the daemon to its database.
CODE = """
import asyncio, json, os, sys
import httpx
import daemon.cli
from daemon.app import create_app
from daemon.config.layers import Effective
from daemon.config.present import PresentSettings
from daemon.paths import Paths
from daemon.settings import Settings

async def main():
    paths = Paths.from_environment(os.environ)
    app = create_app(PresentSettings(Effective(Settings(spare_worker=False, warm_tasks=()))), paths, os.environ)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    async with app.router.lifespan_context(app), client:
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.02)
        pinned = await client.post("/slmreg/pins", json={"task": "chat", "model": "slmreg-demo*"})
        print(json.dumps([pinned.status_code, sorted({name.partition(".")[0] for name in sys.modules})]))

asyncio.run(main())
"""


def test_the_daemon_keeps_what_only_workers_need_out_of_its_memory(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "SLMREG_HOME": str(tmp_path),
        "SLMREG_FOUNDRY_CACHES": "",
        "SLMREG_HF_CACHE": "",
    }
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    status, modules = json.loads(done.stdout)
    assert status == 200
    assert "fastapi" in modules
    workers = {"numpy", "onnxruntime", "onnxruntime_genai", "jinja2", "tokenizers", "llguidance", "PIL"}
    assert not workers & set(modules)
