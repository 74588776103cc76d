"""Files that lie beside a model: LoRA adapters, and links where a system allows them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime


def write_adapter(path: Path, *, rank: int = 4, size: int = 64) -> Path:
    """A LoRA adapter in ONNX Runtime's own format, as ``convert-adapters`` of Olive writes it."""
    random = np.random.default_rng(0)
    names = {"q_proj.lora_A": (size, rank), "q_proj.lora_B": (rank, size)}
    adapter = onnxruntime.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    adapter.set_parameters(
        {
            f"model.layers.0.attn.{name}.weight": onnxruntime.OrtValue.ortvalue_from_numpy(
                random.standard_normal(shape, np.float32)
            )
            for name, shape in names.items()
        }
    )
    adapter.export_adapter(str(path))
    return path


def link(path: Path, target: Path) -> None:
    """A relative link, as the Hugging Face hub makes them; a copy where links are not allowed, as it does then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(os.path.relpath(target, path.parent))
    except OSError:
        shutil.copyfile(target, path)
