"""A bare onnxruntime-genai loop, driven by lines of JSON: the limit that serving is measured against.

    python -m benchmarks.bare_loop FOLDER THREADS

It says ``{}`` when everything is imported, loads the model at the line ``{"load": true}``, and then answers prompts.
Its threads spin while they wait, as those of a model do that the daemon has loaded alone.
"""

from __future__ import annotations

import json
import sys
import time

import onnxruntime_genai as og


def load(folder: str, threads: int) -> tuple[og.Model, og.Tokenizer]:
    config = og.Config(folder)
    options = {"intra_op_num_threads": threads, "session.intra_op.allow_spinning": "1"}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    model = og.Model(config)
    return model, og.Tokenizer(model)


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
    return {
        "ttft_s": first_s - started_s,
        "tokens_per_second": (count - 1) / seconds,
        "prompt_tokens": len(ids),
        "completion_tokens": count,
    }


def say(words: dict[str, float]) -> None:
    print(json.dumps(words), flush=True)


def main() -> None:
    folder, threads = sys.argv[1], int(sys.argv[2])
    say({})
    sys.stdin.readline()
    started_s = time.perf_counter()
    model, tokenizer = load(folder, threads)
    say({"load_s": time.perf_counter() - started_s})
    for line in sys.stdin:
        question = json.loads(line)
        say(answer(model, tokenizer, question["prompt"], question["tokens"]))


if __name__ == "__main__":
    main()
