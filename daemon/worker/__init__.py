"""Where models run: the processes that import ONNX Runtime and its GenAI library, and nothing else does."""

from __future__ import annotations

import os

# Both libraries read it when they are loaded. Without it they make an id of this device, and keep events about the
# models that run, to be sent to their makers: files under ~/.cache/Microsoft from the first load on.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
