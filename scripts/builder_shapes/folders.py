"""A folder of one shape: random weights, saved by transformers and converted by onnxruntime-genai's builder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.builder_shapes.shapes import CONTEXT_TOKENS, VOCABULARY, Shape
from scripts.model_factory import byte_level_tokenizer


class NotBuilt(Exception):
    """The builder does not make this; the message is its last word."""


def built(shape: Shape, options: tuple[str, ...], source: Path, target: Path) -> Path:
    """``target``, made unless it is there already. Raises NotBuilt."""
    if (target / "genai_config.json").is_file():
        return target
    if not (source / "tokenizer.json").is_file():
        _save(shape, source)
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(source), "-i", str(source)]
    command += ["-o", str(target), "-e", "cpu", "-c", str(source.parent / "cache"), *options]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotBuilt((done.stderr.strip() or "it said nothing").splitlines()[-1])
    return target


def _save(shape: Shape, folder: Path) -> None:
    """Weights large enough that answers do not repeat one token, norms away from one and biases away from zero."""
    import torch
    import transformers

    tokenizer = byte_level_tokenizer(VOCABULARY, CONTEXT_TOKENS)
    torch.manual_seed(0)
    config = getattr(transformers, shape.config)(
        **shape.sizes(), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_ids[0]
    )
    model = getattr(transformers, shape.architecture)(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.05)
        else:
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.1)
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer.tokenizer_config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.tokenizer_json, encoding="utf-8")
