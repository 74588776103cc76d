"""Each speed target: how it is measured, and what it is held to.

What is compared is measured in turn, ours and then the bare loop's, and the ratio is the median of the pairs'.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.bare import Bare
from benchmarks.serving.figures import Figure, median, median_ratio
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.served import Message, Served, Stream

FIRST, SECOND = "bench", "bench-copy"
LONG_TOKENS = 1000
CHUNK_TOKENS = 128
MEGABYTE = 1_000_000
# The pool exchanges sessions that spin beside others after a while, and loads anew for that.
SUITED_S = 8.0


@dataclass(frozen=True, slots=True)
class Bench:
    """``start_bare`` starts a bare loop, which loads when it is told to. Measured answers have ``tokens``.

    ``without_drafts`` is a second daemon that writes one token after the other. ``folder`` was written with ``preset``.
    """

    served: Served
    without_drafts: Served
    start_bare: Callable[..., Bare]
    folder: Path
    preset: str
    threads: int
    prompts: Prompts
    rounds: int
    tokens: int

    def stream(self, prompt: str, tokens: int, model: str = FIRST) -> Stream:
        return self.served.stream(model, [user(prompt)], tokens)


def idle(served: Served, when: str) -> list[Figure]:
    """Resident memory with nothing loaded."""
    for session in served.sessions():
        served.unload(session["id"])
    spare, daemon = served.spare().memory_info().rss, served.resident_bytes()
    named = (("idle daemon", daemon), ("spare worker", spare))
    return [Figure(name, size / MEGABYTE, "MB", 90, when) for name, size in named]


def one_stream(bench: Bench) -> list[Figure]:
    """Speed and first token of short prompts, each a fresh one."""
    ours, theirs = [], []
    with contextlib.closing(bench.start_bare()) as bare:
        bare.load()
        for _ in range(bench.rounds):
            prompt = bench.prompts.fresh(16)
            ours.append(bench.stream(prompt, bench.tokens))
            theirs.append(bare.run(prompt, bench.tokens))
    rates, bare_rates = [run.tokens_per_second for run in ours], [run.tokens_per_second for run in theirs]
    later_ms = [1000 * (mine.ttft_s - other.ttft_s) for mine, other in zip(ours, theirs, strict=True)]
    return [
        Figure(
            "one stream",
            median_ratio(rates, bare_rates),
            "x bare",
            0.95,
            f"{median(rates):.1f} tokens/s through HTTP, {median(bare_rates):.1f} bare",
            is_floor=True,
        ),
        Figure(
            f"first token of {ours[0].prompt_tokens}",
            median(later_ms),
            "ms more",
            10,
            f"{as_ms(run.ttft_s for run in ours)} through HTTP, {as_ms(run.ttft_s for run in theirs)} bare",
        ),
    ]


def long_prompts(bench: Bench) -> list[Figure]:
    """A conversation that goes on, a short request beside a long prompt, and a client that leaves."""
    cold, second, beside, stops_s = [], [], [], []
    for _ in range(bench.rounds):
        talk = [user(bench.prompts.fresh(LONG_TOKENS))]
        cold.append(bench.served.stream(FIRST, talk, 16))
        more: list[Message] = [{"role": "assistant", "content": cold[-1].text}, user(bench.prompts.fresh(20))]
        second.append(bench.served.stream(FIRST, [*talk, *more], 2))
        beside.append(_beside_long_prompt(bench, cold[-1].ttft_s / 4))
        stops_s.append(bench.served.leave(FIRST, [user(bench.prompts.fresh(LONG_TOKENS))], cold[-1].ttft_s / 3))
    cold_s = [stream.ttft_s for stream in cold]
    chunk_s = [stream.ttft_s / stream.prompt_tokens * CHUNK_TOKENS for stream in cold]
    return [
        Figure(
            "second turn",
            100 * median_ratio([stream.ttft_s for stream in second], cold_s),
            "% cold",
            10,
            f"{as_ms(stream.ttft_s for stream in second)} after {as_ms(cold_s)}; "
            f"{second[0].cached_tokens} of {second[0].prompt_tokens} tokens cached",
        ),
        Figure(
            "beside a long prompt",
            median_ratio([stream.ttft_s for stream in beside], chunk_s),
            "chunks",
            4,
            f"{as_ms(stream.ttft_s for stream in beside)} to the first token; {CHUNK_TOKENS} tokens: {as_ms(chunk_s)}",
        ),
        Figure(
            "client leaves", 1000 * median(stops_s), "ms", 150, f"to rest, in a long prompt; most {max(stops_s):.2f} s"
        ),
    ]


def _beside_long_prompt(bench: Bench, after_s: float) -> Stream:
    """A short request that comes ``after_s`` after a long one."""
    long, short = bench.prompts.fresh(LONG_TOKENS), bench.prompts.fresh(16)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(bench.stream, long, 2)
        time.sleep(after_s)
        stream = bench.stream(short, 2)
        other.result()
    return stream


def hot_swap(bench: Bench) -> list[Figure]:
    """A request for a model that is not loaded, against a bare process that loads and answers."""
    ours_s, theirs_s = [], []
    for _ in range(bench.rounds):
        prompt = bench.prompts.fresh(16)
        bench.served.unload(FIRST)
        ours_s.append(bench.stream(prompt, 2).ttft_s)
        bench.served.unload(FIRST)
        with contextlib.closing(bench.start_bare()) as bare:
            theirs_s.append(bare.load() + bare.run(prompt, 2).ttft_s)
    detail = f"{as_ms(ours_s)} from request to first token, {as_ms(theirs_s)} bare load and prefill"
    return [Figure("hot swap", median_ratio(ours_s, theirs_s), "x bare", 1.25, detail)]


def load_beside(bench: Bench) -> list[Figure]:
    """How long a stream pauses at most while another model is loaded."""
    gaps_s, usual_s, loads_s = [], [], []
    for _ in range(bench.rounds):
        bench.served.wait_until_suited(0.5)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(bench.stream, bench.prompts.fresh(16), 4 * bench.tokens)
            time.sleep(0.5)
            began_s = time.perf_counter()
            bench.served.load(SECOND)
            loaded_s = time.perf_counter()
            stream = running.result()
        if stream.pieces_s[-1] < loaded_s:
            raise SystemExit("the stream ended before the other model was loaded; choose more --tokens")
        bench.served.unload(SECOND)
        gaps_s.append(stream.longest_gap_s(began_s, loaded_s))
        usual_s.append(stream.longest_gap_s(0.0, began_s))
        loads_s.append(loaded_s - began_s)
    detail = f"most {as_ms([max(gaps_s)])}, {as_ms(usual_s)} before; the load took {as_ms(loads_s)}"
    return [Figure("gap beside a load", 1000 * median(gaps_s), "ms", 300, detail)]


def two_at_once(bench: Bench) -> list[Figure]:
    """Two loaded models, one that answers alone and then both together."""
    bench.served.load(SECOND)
    bench.served.wait_until_suited(SUITED_S)
    alone, together = [], []
    for _ in range(bench.rounds):
        alone.append(bench.stream(bench.prompts.fresh(16), bench.tokens).tokens_per_second)
        with ThreadPoolExecutor(2) as pool:
            streams = list(
                pool.map(lambda model: bench.stream(bench.prompts.fresh(16), bench.tokens, model), (FIRST, SECOND))
            )
        together.append(sum_rate(streams))
    detail = f"{median(together):.1f} tokens/s together, {median(alone):.1f} one alone"
    return [Figure("two models at once", median_ratio(together, alone), "x one", 1.2, detail, is_floor=True)]


def sum_rate(streams: Sequence[Stream]) -> float:
    """Tokens per second of all, from the first token of any to the last."""
    tokens = sum(stream.completion_tokens for stream in streams) - 1
    return tokens / (max(s.pieces_s[-1] for s in streams) - min(s.pieces_s[0] for s in streams))


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def as_ms(seconds: Iterable[float]) -> str:
    return f"{1000 * median(list(seconds)):.0f} ms"


# In this order: the first ones have one model loaded, the last leaves two.
PARTS: Mapping[str, Callable[[Bench], list[Figure]]] = {
    "stream": one_stream,
    "long": long_prompts,
    "swap": hot_swap,
    "load": load_beside,
    "two": two_at_once,
}
