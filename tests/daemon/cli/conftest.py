from __future__ import annotations

import pytest

from daemon import machine
from selector.hardware.detect import Installation


@pytest.fixture(scope="session")
def asked_installation() -> Installation:
    """What the onnxruntime here can run on. Asking takes a process of its own, which each command would start again."""
    return machine.installation()


@pytest.fixture
def known_installation(asked_installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this process know it already."""
    monkeypatch.setattr(machine, "installation", lambda: asked_installation)
