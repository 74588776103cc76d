"""A bare onnxruntime-genai loop, driven by lines of JSON: the limit that serving is measured against.

python -m benchmarks.bare_loop FOLDER THREADS
"""

from __future__ import annotations

import json
import sys
import time

import onnxruntime_genai as og


def answer(model: og.Model, tokenizer: og.Tokenizer, prompt: str, tokens: int) -> dict[str, float]:
    """Prefill and decode greedily; the chat template is applied as the daemon does, so both see the same tokens."""
    started_s = time.perf_counter()
    messages = json.dumps([{"role": "user", "content": prompt}])
    ids = tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + tokens, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(ids)
    generator.generate_next_token()
    first_s = time.perf_counter()
    count = 1
    while count < tokens and not generator.is_done():
        generator.generate_next_token()
        count += 1
    seconds = time.perf_counter() - first_s
    return {"ttft_s": first_s - started_s, "tokens_per_second": (count - 1) / seconds}


def main() -> None:
    folder, threads = sys.argv[1], int(sys.argv[2])
    started_s = time.perf_counter()
    config = og.Config(folder)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = og.Model(config)
    tokenizer = og.Tokenizer(model)
    print(json.dumps({"load_s": time.perf_counter() - started_s}), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(answer(model, tokenizer, question["prompt"], question["tokens"])), flush=True)


if __name__ == "__main__":
    main()
