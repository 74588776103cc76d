from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CODE = """
import psutil
from selector.hardware.priority import step_back
before = psutil.Process().nice()
step_back()
step_back()
print(before, psutil.Process().nice())
"""


def test_a_process_that_steps_back_is_nicer_than_before() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = done.stdout.split()
    assert after != before or before == "15"
    assert "Error" not in done.stderr
