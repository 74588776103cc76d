"""``python -m scripts.builder_shapes WORK_FOLDER [--shape NAME ...] [--variant NAME ...] [--prompts 120]``.

Each family's folder is either run by the batched engine exactly as onnxruntime-genai runs it, up to ties, or refused
with a reason. Needs torch, transformers and onnx_ir beside the test extras, in an environment of their own.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from pathlib import Path

import onnxruntime_genai as og

from daemon.worker.backends.batched.capability import NotBatchable, batched_decoder
from daemon.worker.backends.batched.opening import Wanted, open_batched
from daemon.worker.backends.generator import GeneratorBackend, engine_config, least_room
from daemon.worker.folder import read_config
from registry.errors import SlmregError
from registry.model import ExecutionProvider
from scripts.builder_shapes.comparison import answers, compare
from scripts.builder_shapes.folders import NotBuilt, built
from scripts.builder_shapes.shapes import CONTEXT_TOKENS, SHAPES, VARIANTS, VOCABULARY

_SEED = 3
_MOST_ROWS = 8


def main() -> None:
    arguments = _arguments()
    logging.disable(logging.WARNING)  # of the builder's packages
    is_right = True
    for shape in arguments.shape or SHAPES:
        for variant in arguments.variant or VARIANTS:
            source, target = arguments.work / shape / "hf", arguments.work / shape / variant
            try:
                said = _judged(built(SHAPES[shape], VARIANTS[variant], source, target), arguments.prompts)
            except NotBuilt as error:
                said = f"not built: {error}"
            is_right &= not said.startswith("WRONG")
            print(f"{shape:16} {variant:12} {said}", flush=True)
    sys.exit(0 if is_right else 1)


def _judged(folder: Path, prompts: int) -> str:
    config = read_config(folder)
    try:
        decoder = batched_decoder(folder, config, ExecutionProvider.CPU, has_adapters=False)
    except NotBatchable as error:
        return f"refused: it {error}"
    context_tokens = min(CONTEXT_TOKENS, decoder.most_tokens or CONTEXT_TOKENS)
    model = og.Model(engine_config(folder, config, ExecutionProvider.CPU, threads=1))
    reference = GeneratorBackend(model, least_room_tokens=least_room(config))
    try:
        expected = answers(reference, _SEED, prompts, vocabulary=VOCABULARY, context_tokens=context_tokens)
    except SlmregError as error:
        return f"WRONG: onnxruntime-genai itself fails: {error}"
    wanted = Wanted(
        slots=_MOST_ROWS + 1,
        context_tokens=context_tokens,
        threads=1,
        is_spinning=False,
        session_options=config["model"]["decoder"].get("session_options") or {},
        library=None,
    )
    try:
        backend = open_batched(decoder, wanted, reference=lambda: reference)
        tally = compare(backend, expected, _SEED, most_rows=_MOST_ROWS)
    except NotBatchable as error:
        return f"refused: it {error}"
    except SlmregError as error:
        return f"WRONG: {error}"
    finally:
        gc.collect()
    head = "chosen positions" if decoder.head else "all positions" if decoder.has_all_positions else "the last position"
    word = "WRONG" if tally.wrong else "exact"
    where = f"of the spread at most ({tally.worst_of})"
    return (
        f"{word}: {tally.positions} positions of {prompts} prompts, off by {tally.worst:.2g} {where}, "
        f"{tally.ties} ties, {tally.wrong} wrong; up to {context_tokens} tokens; the head computes {head}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.builder_shapes", description=__doc__.split("\n")[2])
    parser.add_argument("work", type=Path, metavar="WORK_FOLDER")
    parser.add_argument("--shape", action="append", choices=list(SHAPES))
    parser.add_argument("--variant", action="append", choices=list(VARIANTS))
    parser.add_argument("--prompts", type=int, default=120)
    return parser.parse_args()


if __name__ == "__main__":
    main()
