"""Trains tokenizer and network on the generated dialogues; the loss counts only what the model has to say.

Writes ``tokenizer.json`` and ``weights.npz`` (Hugging Face names, ``[out, in]``) into the work folder.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from cpuinfo import get_cpu_info
from tokenizers import Tokenizer
from torch.nn import functional

from scripts.demo_model.network import Network, Shape
from scripts.demo_model.template import END_OF_MESSAGE, START_OF_MESSAGE, render
from scripts.demo_model.tokenizer import train_tokenizer

TOKENS_PER_BATCH = 3072
TOKENIZER_TEXTS = 20_000
POOL = 1024  # dialogues that are sorted by length together, so that little of a batch is padding
PEAK_RATE = 3e-3
WARM_UP = 0.04
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and, shifted by one, what to predict; IGNORED where somebody else speaks."""

    ids: list[int]
    targets: list[int]


def read_texts(file: Path) -> list[str]:
    """One rendered dialogue per line of ``file`` (JSON lines with ``messages`` and ``tools``)."""
    with file.open(encoding="utf-8") as lines:
        return [render(row["messages"], row["tools"]) for row in map(json.loads, lines)]


def make_examples(texts: Iterable[str], tokenizer: Tokenizer, longest: int) -> list[Example]:
    """Dialogues longer than ``longest`` tokens are left out."""
    opening = tokenizer.encode(f"{START_OF_MESSAGE}assistant\n").ids
    end = tokenizer.encode(END_OF_MESSAGE).ids[0]
    encoded = tokenizer.encode_batch(list(texts))
    return [_example(item.ids, opening, end) for item in encoded if len(item.ids) <= longest]


def _example(ids: list[int], opening: list[int], end: int) -> Example:
    """``opening`` are the tokens before an answer, ``end`` is the one that closes it (and has to be learned too)."""
    targets = [IGNORED] * len(ids)
    at = len(opening) - 1
    while at + 1 < len(ids):
        if ids[at - len(opening) + 1 : at + 1] == opening:
            while at + 1 < len(ids) and ids[at] != end:
                targets[at] = ids[at + 1]
                at += 1
        at += 1
    return Example(ids, targets)


def batches(examples: list[Example], seed: int) -> Iterator[list[Example]]:
    """Every example once, in the order given but for POOL neighbours, which are sorted into batches by length."""
    rng = random.Random(seed)
    for first in range(0, len(examples), POOL):
        pool = sorted(examples[first : first + POOL], key=lambda example: len(example.ids))
        made: list[list[Example]] = [[]]
        for example in pool:
            if made[-1] and (len(made[-1]) + 1) * len(example.ids) > TOKENS_PER_BATCH:
                made.append([])
            made[-1].append(example)
        rng.shuffle(made)
        yield from made


def learning_rate(progress: float) -> float:
    """Linear warm-up, then linear to zero; ``progress`` runs from 0 to 1."""
    return PEAK_RATE * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def train(work: Path, *, seed: int, shape: Shape = Shape()) -> None:  # noqa: B008 - frozen
    torch.manual_seed(seed)
    started = time.monotonic()
    texts = read_texts(work / "dialogues.jsonl")
    tokenizer = train_tokenizer(texts[-TOKENIZER_TEXTS:])
    tokenizer.save(str(work / "tokenizer.json"))
    examples = make_examples(texts, tokenizer, shape.context_tokens)
    steps = list(batches(examples, seed))
    network = Network(shape)
    optimizer = torch.optim.AdamW(_parameter_groups(network), lr=PEAK_RATE, betas=(0.9, 0.98))
    tokens = 0
    for step, batch in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate((step + 1) / (len(steps) + 1))
        loss = train_step(network, optimizer, batch)
        tokens += sum(len(example.ids) for example in batch)
        if step % 50 == 0 or step == len(steps) - 1:
            rate = tokens / (time.monotonic() - started)
            print(f"step {step}/{len(steps)} loss {loss:.4f} {rate:.0f} tokens/s", flush=True)
        if step % 500 == 499:
            save(network, work / "weights.npz")
    save(network, work / "weights.npz")
    (work / "shape.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")
    print(f"{len(examples)} dialogues, {tokens} tokens, {time.monotonic() - started:.0f} s")


@cache
def _has_fast_bfloat16() -> bool:
    """Half again as fast where the processor multiplies bfloat16 itself, slower where it does not."""
    return "avx512_bf16" in get_cpu_info().get("flags", ())


def train_step(network: Network, optimizer: torch.optim.Optimizer, batch: list[Example]) -> float:
    """The loss of ``batch`` before the step; weights and optimizer stay in fp32."""
    length = max(len(example.ids) for example in batch)
    ids = torch.tensor([example.ids + [0] * (length - len(example.ids)) for example in batch])
    targets = torch.tensor([example.targets + [IGNORED] * (length - len(example.ids)) for example in batch])
    counted = targets != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_has_fast_bfloat16()):
        logits = network.logits(network(ids)[counted])
    loss = functional.cross_entropy(logits.float(), targets[counted])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.item())


def _parameter_groups(network: Network) -> list[dict[str, object]]:
    """Weight decay for matrices only."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    return [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]


def save(network: Network, file: Path) -> None:
    np.savez(file, **{name: tensor.detach().numpy() for name, tensor in network.state_dict().items()})
