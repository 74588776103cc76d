"""A bare onnxruntime loop over a decoder's graph: the limit that batched serving is measured against.

    python -m benchmarks.bare_onnxruntime FOLDER THREADS

Speaks the lines of ``benchmarks.bare_loop``. Past and present are the same buffers and nothing is sampled but the
largest logit: what it does for each token is one run of the graph.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import onnxruntime_genai as og

from benchmarks.bare_loop import say

Array = npt.NDArray[Any]


class Loop:
    """One sequence of a decoder with float32 cache and the usual names."""

    def __init__(self, folder: Path, threads: int) -> None:
        config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        decoder = config["decoder"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(folder / decoder["filename"], options, ["CPUExecutionProvider"])
        self._tokenizer = og.Tokenizer(og.Config(str(folder)))
        self._cache_shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
        self._layers = int(decoder["num_hidden_layers"])
        self._vocab_size = int(config["vocab_size"])
        self._inputs = {given.name for given in self._session.get_inputs()}

    def answer(self, prompt: str, tokens: int) -> dict[str, float]:
        """Prefill in one run and decode greedily, through the end of the sequence."""
        started_s = time.perf_counter()
        messages = json.dumps([{"role": "user", "content": prompt}])
        ids = self._tokenizer.encode(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True))
        binding = self._with_cache(len(ids) + tokens)
        token = self._run(binding, np.asarray(ids, dtype=np.int64), 0)
        first_s = time.perf_counter()
        for held in range(len(ids), len(ids) + tokens - 1):
            token = self._run(binding, np.array([token]), held)
        seconds = time.perf_counter() - first_s
        return {
            "ttft_s": first_s - started_s,
            "tokens_per_second": (tokens - 1) / seconds,
            "prompt_tokens": len(ids),
            "completion_tokens": tokens,
        }

    def _with_cache(self, room: int) -> ort.IOBinding:
        batch, heads, _, size = self._cache_shape
        self._cache = [np.zeros((batch, heads, room, size), dtype=np.float32) for _ in range(2 * self._layers)]
        binding = self._session.io_binding()
        for index, buffer in enumerate(self._cache):
            layer, kind = index // 2, ("key", "value")[index % 2]
            place = ("cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
            binding.bind_input(f"past_key_values.{layer}.{kind}", *place)
            binding.bind_output(f"present.{layer}.{kind}", *place)
        return binding

    def _run(self, binding: ort.IOBinding, ids: Array, held: int) -> int:
        """Behind ``held`` tokens; the likeliest token after the last of ``ids``."""
        logits = np.empty((1, len(ids), self._vocab_size), dtype=np.float32)
        given = {"input_ids": ids[None], "attention_mask": np.ones((1, held + len(ids)), dtype=np.int64)}
        given["position_ids"] = np.arange(held, held + len(ids), dtype=np.int64)[None]
        for name in given.keys() & self._inputs:
            value = given[name]
            binding.bind_input(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        self._session.run_with_iobinding(binding)
        return int(logits[0, -1].argmax())


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    say({})
    sys.stdin.readline()
    started_s = time.perf_counter()
    loop = Loop(folder, threads)
    say({"load_s": time.perf_counter() - started_s})
    for line in sys.stdin:
        question = json.loads(line)
        say(loop.answer(question["prompt"], question["tokens"]))


if __name__ == "__main__":
    main()
