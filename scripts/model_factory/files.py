"""The text files of a model folder, with the same bytes on every system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.model_factory.tokenizer import TokenizerFiles


def write_tokenizer(folder: Path, tokenizer: TokenizerFiles) -> None:
    write_text(folder / "tokenizer.json", tokenizer.tokenizer_json)
    write_json(folder / "tokenizer_config.json", tokenizer.tokenizer_config)
    write_text(folder / "chat_template.jinja", tokenizer.chat_template)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """UTF-8 with line feeds on every system: the same model has the same bytes everywhere."""
    path.write_bytes(text.encode("utf-8"))
