"""The backend for every model that onnxruntime-genai runs: one ``Generator`` per row.

A generator's key-value cache is allocated whole when it is made, so each row's is as long as its request needs, never
as long as the model's context. Tokens are sampled outside: appending a chosen token costs what the library's own
sampling costs.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og

from daemon.worker.sampling import Logits
from daemon.worker.spinning import spinning_entries
from registry.errors import GenerationFailed
from registry.model import ExecutionProvider

# The names onnxruntime-genai wants where they are not the short ones. Without any provider it uses the CPU.
_PROVIDER_NAMES = {
    ExecutionProvider.CUDA: "cuda",
    ExecutionProvider.TENSORRT_RTX: "NvTensorRtRtx",
    ExecutionProvider.DIRECTML: "DML",
    ExecutionProvider.WEBGPU: "WebGPU",
    ExecutionProvider.OPENVINO: "OpenVINO",
    ExecutionProvider.QNN: "QNN",
    ExecutionProvider.VITIS_AI: "VitisAI",
    ExecutionProvider.MIGRAPHX: "MIGraphX",
}

# Parts of models that hear or see; what is asked once for each token is an embedding table, and no work.
_SELDOM = ("encoder", "vision", "embedding", "speech")


def engine_config(
    folder: Path, settings: Mapping[str, Any], provider: ExecutionProvider, threads: int, *, is_spinning: bool = True
) -> og.Config:
    """The folder's configuration, set to run on ``provider`` with ``threads`` intra-op threads.

    ``settings`` is its genai_config.json, already read and checked. ``is_spinning``: the threads wait for work without
    giving up their cores.

    The library's default is half the hardware threads, which is half the speed where a core is one thread.
    """
    config = og.Config(str(folder))
    config.overlay(json.dumps(_thread_overlay(settings, threads, is_spinning=is_spinning)))
    whole_cache = _whole_cache(settings)
    if whole_cache is not None:
        config.overlay(json.dumps(whole_cache))
    configured = _configured_providers(settings)
    name = _PROVIDER_NAMES.get(provider)
    if name is None or name.lower() not in configured:
        config.clear_providers()
        if name is not None:
            config.append_provider(name)
    return config


def _whole_cache(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """For a model whose attention looks at a window of a cache that holds everything: a window of the whole context.

    The library (0.18) makes such a cache no longer than the window and 16 tokens, and fails beyond. The graph has its
    own window. It refuses a window of more than half the context, which nobody else asks it for.
    """
    model = settings.get("model", {})
    sliding, context_tokens = model.get("decoder", {}).get("sliding_window"), model.get("context_length")
    is_whole = isinstance(sliding, dict) and not sliding.get("slide_key_value_cache", True)
    if not is_whole or sliding.get("layers") or not context_tokens:
        return None
    whole = {**sliding, "window_size": context_tokens}
    return {"model": {"context_length": 2 * context_tokens, "decoder": {"sliding_window": whole}}}


def least_room(settings: Mapping[str, Any]) -> int:
    """Tokens that every row has to have room for: layers that keep a window want all of it, however short the text."""
    sliding = settings.get("model", {}).get("decoder", {}).get("sliding_window")
    if not isinstance(sliding, dict) or sliding.get("slide_key_value_cache", True) or not sliding.get("layers"):
        return 0
    return int(sliding.get("window_size") or 0)


class GeneratorBackend:
    """Rows of one loaded model, none of which has less room than ``least_room_tokens``.

    ``adapters`` are LoRA adapter files by name. One is read when it is first asked for, and then stays: adapters are
    small beside the model.
    """

    can_copy = False
    can_verify = False
    can_resize = False

    def __init__(
        self, model: og.Model, adapters: Mapping[str, Path] | None = None, *, least_room_tokens: int = 0
    ) -> None:
        self._model = model
        self.least_room_tokens = least_room_tokens
        self._adapters = LoraAdapters(model, adapters or {})
        self._rows: dict[int, og.Generator] = {}
        self._numbers = itertools.count()

    def open(self, room_tokens: int, adapter: str | None = None) -> int:
        try:
            params = og.GeneratorParams(self._model)
            # The folder's own search settings must not interfere with one row and sampling outside.
            params.set_search_options(
                max_length=max(room_tokens, self.least_room_tokens),
                batch_size=1,
                num_beams=1,
                num_return_sequences=1,
                do_sample=False,
                min_length=0,
            )
            generator = og.Generator(self._model, params)
            if adapter is not None:
                self._adapters.put_on(generator, adapter)
        except Exception as error:
            raise _converted(error) from error
        row = next(self._numbers)
        self._rows[row] = generator
        return row

    def extend(self, row: int, tokens: Sequence[int]) -> Logits:
        generator = self._rows[row]
        try:
            generator.append_tokens(np.asarray(tokens, dtype=np.int32))
            logits = generator.get_logits()
        except Exception as error:
            raise _converted(error) from error
        last: Logits = logits.reshape(-1, logits.shape[-1])[-1]
        return last

    def take_in(self, row: int, inputs: og.NamedTensors) -> Logits:
        """Read a prompt with pictures, which the model's processor has made, into an empty row, in one call.

        The logits of its last position. Raises GenerationFailed.
        """
        generator = self._rows[row]
        try:
            generator.set_inputs(inputs)
            logits = generator.get_logits()
        except Exception as error:
            raise _converted(error) from error
        last: Logits = logits.reshape(-1, logits.shape[-1])[-1]
        return last

    def decode(self, batch: Sequence[tuple[int, int]]) -> list[Logits | GenerationFailed]:
        results: list[Logits | GenerationFailed] = []
        for row, token in batch:
            try:
                results.append(self.extend(row, [token]))
            except GenerationFailed as error:
                results.append(error)
        return results

    def verify(self, row: int, tokens: Sequence[int]) -> Logits:
        raise GenerationFailed("A generator tells the logits of the last position only.")

    def rewind(self, row: int, length: int) -> None:
        try:
            self._rows[row].rewind_to(length)
        except Exception as error:
            raise _converted(error) from error

    def resize(self, row: int, room_tokens: int) -> None:
        raise GenerationFailed("A generator's key-value cache cannot be made larger or smaller.")

    def copy(self, row: int, length: int, room_tokens: int) -> int:
        raise GenerationFailed("A generator's key-value cache cannot be copied into another.")

    def close(self, row: int) -> None:
        self._rows.pop(row, None)


class LoraAdapters:
    """The adapters of one model, by name."""

    def __init__(self, model: og.Model, files: Mapping[str, Path]) -> None:
        self._model = model
        self._files = files
        self._read: set[str] = set()
        self._loaded: og.Adapters | None = None

    def put_on(self, generator: og.Generator, name: str) -> None:
        """Raises RuntimeError for a file that the library cannot read, or that is not for this model."""
        if self._loaded is None:
            self._loaded = og.Adapters(self._model)
        if name not in self._read:
            self._loaded.load(str(self._files[name]), name)
            self._read.add(name)
        generator.set_active_adapter(self._loaded, name)


def _converted(error: Exception) -> GenerationFailed:
    """The library raises plain RuntimeErrors; the first line has the reason, the rest is its source code."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return GenerationFailed(f"The engine failed at this request: {reason}")


def _thread_overlay(settings: Mapping[str, Any], threads: int, *, is_spinning: bool) -> dict[str, Any]:
    """Every part is a session with threads of its own; those that are seldom asked must not spin beside the decoder."""
    described = settings.get("model", {})
    parts = ("decoder", *(part for part in _SELDOM if isinstance(described.get(part), dict)))
    options = {part: _thread_options(threads, is_spinning and part not in _SELDOM) for part in parts}
    return {"model": {part: {"session_options": of_part} for part, of_part in options.items()}}


def _thread_options(threads: int, is_spinning: bool) -> dict[str, Any]:
    return {"intra_op_num_threads": threads, **spinning_entries(is_spinning=is_spinning)}


def _configured_providers(settings: Mapping[str, Any]) -> set[str]:
    """Names, in lower case, of the providers that the folder's configuration itself asks for, with its own options."""
    options = settings.get("model", {}).get("decoder", {}).get("session_options", {}).get("provider_options", [])
    return {name.lower() for entry in options for name in entry}
