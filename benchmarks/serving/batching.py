"""Several streams at once in one model, and what reads and writes more than one token at a time."""

from __future__ import annotations

import contextlib
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import platformdirs

from benchmarks.serving.figures import Figure, median, median_ratio
from benchmarks.serving.measures import FIRST, LONG_TOKENS, Bench, as_ms, sum_rate, user
from benchmarks.serving.references.foundry import Foundry
from benchmarks.serving.references.llama import is_here, llama_server, write_gguf
from benchmarks.serving.served import Served, Stream

MOST_STREAMS = 8
COPIED_TOKENS = 120
# The parts that have a second daemon, which writes one token after the other.
WITHOUT_DRAFTS = frozenset({"drafts", "onnxruntime", "streams"})


def streams(bench: Bench) -> list[Figure]:
    """All tokens of four and of eight streams, against those of one.

    While all of them write, as the one does: what reading the prompts costs is told beside it. Without drafts, which
    only a few streams have, and which random weights that repeat themselves make look better than they are.
    """
    counts = (1, 4, MOST_STREAMS)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    whole: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(bench.rounds):
        for count in counts:
            seen = _at_once(bench, count, bench.without_drafts)
            rates[count].append(_rate_while_all_write(seen))
            whole[count].append(sum_rate(seen))
    limits = {4: 2.3, MOST_STREAMS: 2.8}
    return [
        Figure(
            f"{count} streams",
            median_ratio(rates[count], rates[1]),
            "x one",
            limit,
            f"{median(rates[count]):.1f} tokens/s together, {median(rates[1]):.1f} one alone; "
            f"{median(whole[count]):.1f} with the reading of their prompts",
            is_floor=True,
        )
        for count, limit in limits.items()
    ]


def _at_once(bench: Bench, count: int, served: Served) -> list[Stream]:
    prompts = [bench.prompts.fresh(16) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda prompt: served.stream(FIRST, [user(prompt)], bench.tokens), prompts))


def _rate_while_all_write(streams: Sequence[Stream]) -> float:
    """Tokens per second of all, from the last one's first token to the first one's last; of all the time without it."""
    since_s, until_s = max(each.pieces_s[0] for each in streams), min(each.pieces_s[-1] for each in streams)
    if until_s <= since_s:
        return sum_rate(streams)
    tokens = sum(each.tokens_between(since_s, until_s) for each in streams)
    return tokens / (until_s - since_s)


def against_onnxruntime(bench: Bench) -> list[Figure]:
    """One stream without drafts, against the graph that is run once for each token and nothing else."""
    ours, theirs = [], []
    with contextlib.closing(bench.start_bare("benchmarks.bare_onnxruntime")) as bare:
        bare.load()
        for _ in range(bench.rounds):
            prompt = bench.prompts.fresh(16)
            ours.append(bench.without_drafts.stream(FIRST, [user(prompt)], bench.tokens).tokens_per_second)
            theirs.append(bare.run(prompt, bench.tokens).tokens_per_second)
    detail = f"{median(ours):.1f} tokens/s through HTTP, {median(theirs):.1f} bare onnxruntime"
    return [Figure("one stream", median_ratio(ours, theirs), "x bare", 0.97, detail, is_floor=True)]


def prefill(bench: Bench) -> list[Figure]:
    """The first token after a long prompt, against onnxruntime-genai's own."""
    ours_s, theirs_s = [], []
    with contextlib.closing(bench.start_bare()) as bare:
        bare.load()
        for _ in range(bench.rounds):
            prompt = bench.prompts.fresh(LONG_TOKENS)
            ours_s.append(bench.stream(prompt, 2).ttft_s)
            theirs_s.append(bare.run(prompt, 2).ttft_s)
    detail = f"{as_ms(ours_s)} for {LONG_TOKENS} tokens through HTTP, {as_ms(theirs_s)} og.Generator"
    return [Figure("prefill", median_ratio(theirs_s, ours_s), "x bare", 1.15, detail, is_floor=True)]


def joining(bench: Bench) -> list[Figure]:
    """How long eight streams pause while a long prompt is read beside them."""
    ratios, slowest_s, usual_s = [], [], []
    for _ in range(bench.rounds):
        prompts = [bench.prompts.fresh(16) for _ in range(MOST_STREAMS - 1)]
        with ThreadPoolExecutor(MOST_STREAMS) as pool:
            running = [pool.submit(bench.stream, prompt, 4 * bench.tokens) for prompt in prompts]
            time.sleep(1.0)
            began_s = time.perf_counter()
            joined = bench.stream(bench.prompts.fresh(LONG_TOKENS), 2)
            gaps_s = [gap for each in running for gap in _gaps_s(each.result(), began_s, joined.pieces_s[0])]
            steady_s = [gap for each in running for gap in _gaps_s(each.result(), 0.0, began_s)]
        usual_s.append(statistics.median(steady_s))
        slowest_s.append(statistics.quantiles(gaps_s, n=100)[98])
        ratios.append(slowest_s[-1] / usual_s[-1])
    detail = f"p99 {as_ms(slowest_s)} while {LONG_TOKENS} tokens are read, median {as_ms(usual_s)} before"
    return [Figure("gap beside a prompt", median(ratios), "x median", 3, detail)]


def _gaps_s(stream: Stream, since_s: float, until_s: float) -> list[float]:
    return [after - before for before, after in pairwise(stream.pieces_s) if before >= since_s and after <= until_s]


def drafts(bench: Bench) -> list[Figure]:
    """An answer that repeats what the prompt has, as edits and extractions do, against the same without drafts.

    Random weights repeat nothing: a form makes this model write the text.
    """
    ours, theirs = [], []
    for _ in range(bench.rounds):
        text = bench.prompts.fresh(COPIED_TOKENS)
        ours.append(_copied(bench.served, text).tokens_per_second)
        theirs.append(_copied(bench.without_drafts, text).tokens_per_second)
    detail = f"{median(ours):.1f} tokens/s with prompt lookup, {median(theirs):.1f} without"
    return [Figure("repeated text", median_ratio(ours, theirs), "x plain", 1.5, detail, is_floor=True)]


def _copied(served: Served, text: str) -> Stream:
    return served.stream(FIRST, [user(f"Repeat:{text}")], COPIED_TOKENS // 2, guided_regex=re.escape(text))


def references(bench: Bench) -> list[Figure]:
    """Eight streams, against the same in other servers with as many threads and a model of the same shape."""
    environments = Path(platformdirs.user_cache_dir("slmreg-benchmarks"))
    with tempfile.TemporaryDirectory(prefix="slmreg-references-") as scratch, contextlib.ExitStack() as stack:
        foundry = stack.enter_context(contextlib.closing(Foundry(bench.folder, Path(scratch) / "home", environments)))
        rates = {"Foundry Local": lambda prompts: foundry.rate(prompts, bench.tokens)}
        if is_here():
            write_gguf(bench.folder, bench.preset, Path(scratch) / "model.gguf", environments)
            server = llama_server(
                Path(scratch) / "model.gguf", bench.threads, MOST_STREAMS, Path(scratch) / "llama.log"
            )
            llama = stack.enter_context(server)
            rates["llama-server"] = lambda prompts: sum_rate(llama.at_once(prompts, bench.tokens))
        else:
            print("llama-server is not on the PATH: no comparison with it")
        return _compared(bench, rates)


def _compared(bench: Bench, rates: Mapping[str, Callable[[list[str]], float]]) -> list[Figure]:
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in rates}
    for _ in range(bench.rounds):
        ours.append(sum_rate(_at_once(bench, MOST_STREAMS, bench.served)))
        for name, rate in rates.items():
            theirs[name].append(rate([bench.prompts.fresh(16) for _ in range(MOST_STREAMS)]))
    limits = {"Foundry Local": 4.0, "llama-server": 1.5}
    return [
        Figure(
            f"{MOST_STREAMS} streams",
            median_ratio(ours, seen),
            "x peer",
            limits[name],
            f"{median(ours):.1f} tokens/s, {name} {median(seen):.1f}",
            is_floor=True,
        )
        for name, seen in theirs.items()
    ]


PARTS: Mapping[str, Callable[[Bench], Sequence[Figure]]] = {
    "streams": streams,
    "onnxruntime": against_onnxruntime,
    "prefill": prefill,
    "joining": joining,
    "drafts": drafts,
    "references": references,
}
