"""What the footprint formula predicts against what worker processes really hold.

    python -m benchmarks.footprint [--quick]

Each model is written with random weights, read as a scan reads it and loaded in a real worker for each context. Where
the embedding table is only mapped into memory, texts that use all of it come first: the life of a session in short.
Then a request reserves the whole context. The peak of the process is what the formula has to foretell.

``fresh`` is the resident memory after loading against the formula's part of it, ``measured`` the formula that knows
what the process held after loading. Errors are shares of the measured memory; below zero is too little.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.pool.launch import ProcessLauncher, WorkerProcess
from daemon.pool.protocol import Delta, Failed, Generate, Load
from registry.model import Model, Precision, Root, Source
from registry.scan import scan
from scripts.model_factory import PRESETS, DecoderSpec, Quantization, write_model
from selector.footprint import need_bytes
from selector.hardware.detect import detect_hardware
from selector.hardware.processes import peak_bytes, resident_bytes

CONTEXTS = (512, 2048, 8192, 32_768)
QUICK_CONTEXTS = (512, 8192)
WITHIN = 0.10
# A prompt of three chunks of the worker, which leaves room for an answer in the shortest context.
PROMPT_WORDS = 300
# The kernel maps this much around a row of a table that is read for the first time.
MAPPED_AROUND_BYTES = 64 * 1024


@dataclass(frozen=True)
class Case:
    """One model to write; ``name`` says after which published shape."""

    name: str
    spec: DecoderSpec
    quantization: Quantization
    is_quick: bool = False

    @property
    def has_mapped_table(self) -> bool:
        """One that is read row by row: every one but those in fp32 that are tied."""
        return not self.spec.tied_embeddings or self.quantization.bits is not None


@dataclass(frozen=True)
class Reading:
    """Of one model at one context, in bytes: what was held, and what was predicted."""

    name: str
    precision: Precision
    weight_bytes: int
    context_tokens: int
    loaded_bytes: int
    resident_bytes: int
    peak_bytes: int
    predicted_loaded_bytes: int
    predicted_bytes: int
    corrected_bytes: int

    @property
    def error(self) -> float:
        return self.predicted_bytes / self.peak_bytes - 1

    @property
    def loaded_error(self) -> float:
        return self.predicted_loaded_bytes / self.loaded_bytes - 1

    @property
    def corrected_error(self) -> float:
        return self.corrected_bytes / self.peak_bytes - 1


@dataclass(frozen=True)
class Summary:
    """``worst_under`` is 0 where nothing was predicted too small, ``worst_over`` where nothing was too large."""

    count: int
    share_within: float
    worst_under: float
    worst_over: float

    def __str__(self) -> str:
        return (
            f"{self.share_within:.0%} of {self.count} within {WITHIN:.0%}, "
            f"worst under {self.worst_under:+.1%}, worst over {self.worst_over:+.1%}"
        )


def summarize(errors: Sequence[float]) -> Summary:
    """Raises ValueError without errors."""
    if not errors:
        raise ValueError("there is nothing to summarize")
    return Summary(
        count=len(errors),
        share_within=sum(abs(error) <= WITHIN for error in errors) / len(errors),
        worst_under=min(0.0, *errors),
        worst_over=max(0.0, *errors),
    )


def cases() -> tuple[Case, ...]:
    """From 1 to 540 MB of weights, of the shapes that small models have."""
    int4, int8, fp32 = Quantization.INT4, Quantization.INT8, Quantization.FP32
    small = dataclasses.replace(PRESETS["small"].spec, context_tokens=32_768)
    demo = _shape(192, 4, 6, 2, 32, 512, 1024, 2048)
    # Many tokens, few layers: nearly all of it is the table.
    table = _shape(256, 4, 4, 4, 64, 768, 128_000)
    smollm = _shape(576, 30, 9, 3, 64, 1536, 49_152)
    gemma = _shape(640, 18, 4, 1, 256, 2048, 262_144)
    untied = _shape(768, 12, 12, 12, 64, 2048, 32_000, tied_embeddings=False)
    return (
        Case("demo", demo, int4, is_quick=True),
        Case("demo", demo, int8),
        Case("demo", demo, fp32),
        Case("small", small, int4, is_quick=True),
        Case("small", small, int8, is_quick=True),
        Case("small", small, fp32, is_quick=True),
        Case("small level 0", small, dataclasses.replace(int4, accuracy_level=0)),
        Case("small block 128", small, Quantization(4, 128)),
        Case("table", table, int4, is_quick=True),
        Case("table", table, int8),
        Case("table", table, fp32),
        Case("smollm2-135m", smollm, int4),
        Case("smollm2-135m", smollm, int8),
        Case("smollm2-135m", smollm, fp32),
        Case("untied", untied, int4),
        Case("untied", untied, int8),
        Case("untied", untied, fp32),
        Case("gemma3-270m", gemma, int4),
        Case("qwen2.5-0.5b", PRESETS["bench-0.5b"].spec, int4),
    )


def _shape(
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_size: int,
    intermediate: int,
    vocabulary: int,
    context_tokens: int = 32_768,
    *,
    tied_embeddings: bool = True,
) -> DecoderSpec:
    return DecoderSpec(
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        intermediate_size=intermediate,
        vocab_size=vocabulary,
        context_tokens=context_tokens,
        tied_embeddings=tied_embeddings,
    )


def measure(case: Case, contexts: Sequence[int], threads: int) -> Iterator[Reading]:
    """One reading for each of ``contexts`` that the model allows. The folder is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="slmreg-bench-") as scratch:
        write_model(Path(scratch) / "model", case.spec, quantization=case.quantization)
        (model,) = scan([Root(Path(scratch), Source.FOLDER)]).models
        prompts = _prompts(case, model.path)
        for context_tokens in contexts:
            if context_tokens <= model.context_tokens:
                yield asyncio.run(_read(case.name, model, context_tokens, prompts, threads))


async def _read(name: str, model: Model, context_tokens: int, prompts: Sequence[str], threads: int) -> Reading:
    worker = await ProcessLauncher().start()
    try:
        await worker.load(
            Load(
                path=str(model.path),
                execution_provider=model.execution_provider,
                threads=threads,
                context_tokens=context_tokens,
                max_concurrent=4,
            )
        )
        loaded = resident_bytes(worker.pid)
        for prompt in prompts[1:]:
            await _resident_while_answering(worker, prompt, max_tokens=1)
        resident = await _resident_while_answering(worker, prompts[0], max_tokens=context_tokens)
        peak = peak_bytes(worker.pid) or resident
    finally:
        await worker.stop()
    corrected = need_bytes(model, context_tokens, loaded_bytes=loaded)
    return Reading(
        name=name,
        precision=model.precision,
        weight_bytes=model.weight_bytes,
        context_tokens=context_tokens,
        loaded_bytes=loaded,
        resident_bytes=resident,
        peak_bytes=peak,
        predicted_loaded_bytes=need_bytes(model, context_tokens) - (corrected - loaded),
        predicted_bytes=need_bytes(model, context_tokens),
        corrected_bytes=corrected,
    )


async def _resident_while_answering(worker: WorkerProcess, prompt: str, max_tokens: int) -> int:
    """Resident memory after the first piece of the answer; the rest is cancelled. The room is ``max_tokens`` more than
    the prompt, or what is left of the context."""
    request = Generate(request_id="1", messages=[{"role": "user", "content": prompt}], max_tokens=max_tokens)
    events = worker.generate(request)
    try:
        async for event in events:
            if isinstance(event, Failed):
                raise SystemExit(f"the worker failed: {event.message}")
            if isinstance(event, Delta):
                break
        return resident_bytes(worker.pid)
    finally:
        await events.aclose()


def _prompts(case: Case, folder: Path) -> list[str]:
    """Made of words of the vocabulary; several, which reach each part of a table that is only mapped."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    words = [word[1:] for word in tokenizer["model"]["vocab"] if len(word) > 1 and word.startswith("\u0120")]
    words = words or ["a"]
    rows_around = max(1, MAPPED_AROUND_BYTES // (4 * case.spec.hidden_size))
    reached = words[::rows_around] if case.has_mapped_table else words[:1]
    repeated = itertools.islice(itertools.cycle(reached), -(-len(reached) // PROMPT_WORDS) * PROMPT_WORDS)
    return [" ".join(prompt) for prompt in zip(*[repeated] * PROMPT_WORDS, strict=True)]


def row(reading: Reading) -> str:
    megabytes = [reading.weight_bytes, reading.loaded_bytes, reading.resident_bytes, reading.peak_bytes]
    figures = " ".join(f"{count / 1e6:8.1f}" for count in (*megabytes, reading.predicted_bytes))
    errors = " ".join(f"{e:+9.1%}" for e in (reading.error, reading.loaded_error, reading.corrected_error))
    return f"{reading.name:15} {reading.precision:5} {reading.context_tokens:7} {figures} {errors}"


def header() -> str:
    figures = " ".join(f"{title:>8}" for title in ("weights", "loaded", "resident", "peak", "formula"))
    errors = " ".join(f"{title:>9}" for title in ("error", "fresh", "measured"))
    return f"{'MB':15} {'':5} {'context':>7} {figures} {errors}"


def report(readings: Sequence[Reading]) -> None:
    print(f"formula: {summarize([reading.error for reading in readings])}")
    print(f"fresh: {summarize([reading.loaded_error for reading in readings])}")
    print(f"measured: {summarize([reading.corrected_error for reading in readings])}")
    print("wanted: 95% within 10%, nothing more than 5% under")


def chosen(every: Iterable[Case], *, is_quick: bool) -> list[Case]:
    return [case for case in every if case.is_quick or not is_quick]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small models, two contexts")
    is_quick: bool = parser.parse_args().quick
    threads = detect_hardware().cpu.usable_cores
    readings = []
    print(header())
    for case in chosen(cases(), is_quick=is_quick):
        for reading in measure(case, QUICK_CONTEXTS if is_quick else CONTEXTS, threads):
            readings.append(reading)
            print(row(reading), flush=True)
    report(readings)


if __name__ == "__main__":
    main()
