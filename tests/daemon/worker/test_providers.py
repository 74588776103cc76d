from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from daemon.worker.providers import short_names
from registry.model import ExecutionProvider


def test_known_providers_get_their_short_names_and_the_rest_is_dropped() -> None:
    names = ["AzureExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider", "SomethingNew"]
    assert short_names(names) == [ExecutionProvider.CPU, ExecutionProvider.DIRECTML]


def test_the_command_prints_a_json_list_with_the_cpu_and_nothing_else() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "daemon.worker.providers"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    listed = json.loads(result.stdout)
    assert "cpu" in listed
    assert set(listed) <= {provider.value for provider in ExecutionProvider}
