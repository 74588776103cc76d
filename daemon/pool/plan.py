"""``LoadPlan``: how a model is to be loaded. On its own, because commands that load nothing need it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How to load a model: context in tokens, ONNX Runtime threads, and the bytes the footprint formula expects.

    ``allowed_libraries`` are SHA-256 digests of the custom operator libraries that it may run. ``is_forced``: a person
    wants it loaded even if those bytes cannot be had.
    """

    context_tokens: int
    threads: int
    need_bytes: int
    allowed_libraries: tuple[str, ...] = ()
    is_forced: bool = False
