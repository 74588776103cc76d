"""A locale that is not UTF-8: names of models keep what they are called, and nothing that is printed fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry.sources import DEMO_ROOT
from tests.e2e.conftest import Home, put

NAME = "modèle-日本語-😀"
LOCALES = {
    "everything says ASCII": {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    },
    "the file system says ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "the terminal says Latin-1": {"PYTHONIOENCODING": "latin-1"},
}


@pytest.fixture(params=LOCALES)
def abroad(request: pytest.FixtureRequest, home: Home) -> tuple[Home, dict[str, str]]:
    put(DEMO_ROOT, home.models / NAME).joinpath("inference_model.json").unlink()
    return home, {**home.environment, **LOCALES[request.param], "SLMREG_PORT": "0"}


def slmreg(environment: dict[str, str], *arguments: str, text: str = "") -> bytes:
    command = [sys.executable, "-m", "daemon.cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, input=text.encode(), timeout=60, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode("latin-1")
    return done.stdout


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_names_keep_what_they_are_called(abroad: tuple[Home, dict[str, str]]) -> None:
    home, environment = abroad
    encoding = environment.get("PYTHONIOENCODING", "utf-8").replace("ascii", "utf-8")
    listed = json.loads(slmreg(environment, "list", "--json").decode(encoding))
    assert f"{NAME}:0" in {model["id"] for model in listed}
    assert str(home.models / NAME) in {model["path"] for model in listed}
    shown = f"{NAME}:0".encode(encoding, "backslashreplace")
    assert shown in slmreg(environment, "list")
    assert shown in slmreg(environment, "show", NAME)
    assert shown in slmreg(environment, "select", "chat", "--explain")
    slmreg(environment, "pin", "chat", NAME)
    assert shown in slmreg(environment, "pins")
    assert b"utf" not in slmreg(environment, "doctor")


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_daemon_and_an_answer_know_the_same_names(home: Home, tmp_path: Path) -> None:
    put(DEMO_ROOT, home.models / NAME).joinpath("inference_model.json").unlink()
    environment = {**home.environment, **LOCALES["everything says ASCII"]}
    answer = slmreg(environment, "run", NAME, "--max-tokens", "8", text="Wie heißt du? 日本")
    assert answer.strip()
