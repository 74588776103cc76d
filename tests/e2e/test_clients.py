"""Programs that people already use, pointed at one daemon and otherwise unchanged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Served, start_with_talker
from tests.e2e.test_demo_model import ANSWERS

PROGRAMS = Path(__file__).parent / "programs"
QUESTION = "Who are you?"
PATIENCE_S = 240
CALL = [["get_weather", {"city": "Paris"}]]
# None of them is to look for anything that is not on this machine.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "LITELLM_TELEMETRY": "False"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield start_with_talker(tmp_path_factory.mktemp("clients"), tiny, stack)


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [module for module in modules if find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"pip install '.[clients]' has {', '.join(missing)}")


def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """What it says on standard output."""
    variables = {**os.environ, **OFFLINE, **(environment or {})}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def program(name: str, served: Served) -> Any:
    """What a program of ours was told; libraries may say something before that."""
    return json.loads(run(sys.executable, "-W", "ignore", str(PROGRAMS / name), served.url).splitlines()[-1])


@needs("langchain_openai", "langchain_ollama")
def test_langchain_is_told_the_same_by_both_of_its_chats(served: Served) -> None:
    told = program("langchain_chats.py", served)
    for chat in (told["openai"], told["ollama"]):
        assert chat["text"] == chat["streamed"] == ANSWERS[QUESTION]
        assert chat["pieces"] > 5
        usage = chat["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 10
        assert chat["calls"] == CALL
        assert chat["structured"]["colour"] in ("red", "green", "blue")
    assert told["forced"] == "get_weather"
    assert isinstance(told["structured by a call"]["is_dry"], bool)
    assert told["by responses"] == ANSWERS[QUESTION]


@needs("litellm")
def test_litellm_is_told_the_same_under_each_prefix(served: Served) -> None:
    told = program("litellm_prefixes.py", served)
    assert set(told) == {"openai", "ollama_chat", "anthropic"}
    for prefix, said in told.items():
        assert said["text"] == said["streamed"] == ANSWERS[QUESTION], prefix
        assert said["pieces"] > 5, prefix
        assert said["calls"] == CALL, prefix


@needs("llm")
@pytest.mark.parametrize("how", ["streamed", "whole"])
def test_llm_asks_a_model_of_its_yaml_file(served: Served, tmp_path: Path, how: str) -> None:
    listed = f"- model_id: mine\n  model_name: talker\n  api_base: {served.url}/v1\n"
    (tmp_path / "extra-openai-models.yaml").write_text(listed)
    environment = {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    flags = ["--no-stream"] if how == "whole" else []
    said = run(
        sys.executable, "-m", "llm", "-m", "mine", "-o", "temperature", "0", *flags, QUESTION, environment=environment
    )
    assert said.strip() == ANSWERS[QUESTION]


def test_the_openai_package_of_npm_is_served_as_well(served: Served) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    places = [os.environ.get("NODE_PATH", ""), *_global_packages()]
    environment = {"NODE_PATH": os.pathsep.join(filter(None, places))}
    found = subprocess.run(
        [node, "-e", "require.resolve('openai')"], env={**os.environ, **environment}, capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip("npm install -g openai makes the package known to node")
    told = json.loads(run(node, str(PROGRAMS / "openai_node.js"), served.url, environment=environment))
    assert told["text"] == told["streamed"] == told["response"] == ANSWERS[QUESTION]
    assert told["pieces"] > 5
    assert told["run"].startswith("Here is the result: temperature 18")
    assert "talker:0" in told["models"]
    assert told["error"] == {"status": 404, "code": "model_not_found", "kind": "NotFoundError"}


def _global_packages() -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        return []
    return subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False).stdout.split("\n")[:1]
