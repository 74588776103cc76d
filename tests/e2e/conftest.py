"""Real daemons, real workers, real ONNX models; only the home is a temporary one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import onnx
import openai
import pytest

from daemon.cli.background import BackgroundDaemon, background_daemon
from registry.sources import DEMO_ROOT
from registry.store import Registry
from scripts.model_factory import Quantization, write_preset

WAIT_S = 60.0


@dataclass(frozen=True)
class Home:
    """One throw-away home with a folder of models; ``start`` runs a daemon on it."""

    path: Path
    models: Path
    stack: ExitStack

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SLMREG_")}
        return {
            **kept,
            "SLMREG_HOME": str(self.path),
            "SLMREG_FOUNDRY_CACHES": str(self.path / "foundry"),
            "SLMREG_HF_CACHE": str(self.path / "hf"),
            "SLMREG_SETTLE_S": "0.3",
            "SLMREG_WARM_TASKS": "none",  # what a test does not ask for is not loaded
        }

    def start(self, **settings: Any) -> Served:
        given = {f"SLMREG_{name.upper()}": str(value) for name, value in settings.items()}
        daemon = self.stack.enter_context(background_daemon({**self.environment, **given}, self.log))
        return Served(daemon, self)

    @property
    def log(self) -> Path:
        return self.path / "daemon.log"


@dataclass(frozen=True)
class Served:
    """A running daemon and ways to talk to it."""

    daemon: BackgroundDaemon
    home: Home

    @property
    def url(self) -> str:
        return self.daemon.url

    @property
    def pid(self) -> int:
        return self.daemon.process.pid

    @property
    def openai(self) -> Any:
        """The official client, untyped: its overloads do not take parameters from a dict."""
        return self.home.stack.enter_context(
            openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)
        )

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=30).raise_for_status().json()

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=60)

    def sessions(self) -> dict[str, Any]:
        return {session["id"]: session for session in self.get("/slmreg/sessions")}


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    """Poll until ``condition`` is truthy and return that."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.02)
    return value


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory-made model of 0.09 M parameters with random weights: fast, and it talks nonsense.

    Its weights are fp32. With int4 a call for one token and one for several differ in the second digit, and a random
    model has many close choices: what it says would depend on how its prompt was cut.
    """
    return write_preset("tiny", tmp_path_factory.mktemp("factory") / "tiny", quantization=Quantization.FP32)


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 M parameters, 8,192 tokens of context, never ends by itself: there is time to do something to its answers."""
    return write_preset("small", tmp_path_factory.mktemp("factory") / "slow")


def put(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder))


def start_with_talker(root: Path, tiny: Path, stack: ExitStack, **settings: Any) -> Served:
    """A daemon with ``tiny`` as tiny-random, the demo model as talker, and what is in ``root / "models"`` already."""
    put(tiny, root / "models" / "tiny-random")
    talker = put(DEMO_ROOT, root / "models" / "talker")
    talker.joinpath("inference_model.json").unlink()
    with Registry.open(root / "home" / "registry.db") as registry:
        registry.add_root(root / "models")
    return Home(root / "home", root / "models", stack).start(max_context_tokens=1024, **settings)


def put_broken(model: Path, folder: Path) -> Path:
    """Nothing that a scan can see is wrong with it, but its graph has an operator that nobody knows."""
    put(model, folder)
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    graph.graph.node[-1].op_type = "NoSuchOperator"
    onnx.save(graph, folder / "model.onnx")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose registry knows one root, ``models``, which is still empty."""
    models = tmp_path / "models"
    models.mkdir()
    with Registry.open(tmp_path / "home" / "registry.db") as registry:
        registry.add_root(models)
    with ExitStack() as stack:
        yield Home(tmp_path / "home", models, stack)
