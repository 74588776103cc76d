from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.model_factory import write_preset

RUNS_A_MODEL = """
import sys
import daemon.worker
import onnxruntime, onnxruntime_genai
from pathlib import Path
onnxruntime_genai.Model(sys.argv[1])
onnxruntime.InferenceSession(next(Path(sys.argv[1]).glob("*.onnx")), providers=["CPUExecutionProvider"])
"""


def test_the_libraries_that_run_models_note_nothing_down_about_them(tmp_path: Path) -> None:
    model = write_preset("tiny", tmp_path / "model")
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    folders = {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE")}
    command = [sys.executable, "-c", RUNS_A_MODEL, str(model)]
    subprocess.run(command, env={**kept, **folders}, cwd=Path(__file__).parents[3], timeout=120, check=True)
    assert list(home.rglob("*")) == []
