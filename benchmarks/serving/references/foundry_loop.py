"""Foundry Local's SDK with one model folder, driven by lines of JSON; runs in an environment of its own.

    python foundry_loop.py FOLDER HOME

Each line is ``{"prompts": [...], "tokens": N}``: all are answered at the same time, and the answer tells the tokens per
second of all together, from the first one to the last. In the process, without HTTP: its web service does not serve
folders that were registered.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from foundry_local_sdk.catalog import CatalogType
from foundry_local_sdk.configuration import Configuration
from foundry_local_sdk.foundry_local_manager import FoundryLocalManager
from foundry_local_sdk.model_info import ModelInfoBuilder


def main() -> None:
    folder, home = sys.argv[1:]
    settings = Configuration("slmreg-benchmark", app_data_dir=home, disable_nonessential_telemetry=True)
    FoundryLocalManager.initialize(settings)
    described = ModelInfoBuilder().set_string_property("task", "chat-completion")
    model = FoundryLocalManager.instance.get_catalog(CatalogType.LOCAL).register_model(folder, "bench:1", described)
    model.load()
    client = model.get_chat_client()
    client.settings.temperature = 0.0

    def answer(prompt: str) -> list[float]:
        chunks = client.complete_streaming_chat([{"role": "user", "content": prompt}])
        return [time.perf_counter() for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]

    print("{}", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        client.settings.max_tokens = question["tokens"]
        with ThreadPoolExecutor(len(question["prompts"])) as pool:
            pieces_s = sorted(at_s for each in pool.map(answer, question["prompts"]) for at_s in each)
        rate = (len(pieces_s) - 1) / (pieces_s[-1] - pieces_s[0])
        print(json.dumps({"tokens_per_second": rate}), flush=True)


if __name__ == "__main__":
    main()
