"""A real worker process with a real model, over its pipes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import onnxruntime_genai as og
import pytest

from daemon.pool.failures import FailureKind, kind_of_load, kind_of_request
from daemon.pool.framing import decode, encode
from daemon.pool.protocol import (
    PULSE_S,
    Accepted,
    Cancel,
    Delta,
    Failed,
    Finished,
    Generate,
    Load,
    LoadFailed,
    Pulse,
    Ready,
    Sampling,
    ToDaemon,
    ToWorker,
    UseCores,
)
from daemon.worker.answer import AnswerText
from daemon.worker.template_source import load_chat_template
from daemon.worker.tokenizer import GenaiTokenizer
from scripts.model_factory import Quantization, write_preset

REPOSITORY = Path(__file__).parents[3]
GREEDY = Sampling(temperature=0)
TIMEOUT_S = 30
needs_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs Linux and two cores"
)
T = TypeVar("T", bound=ToDaemon)


class Worker:
    """A worker process, and what it has said."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "daemon.worker.main"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._messages: queue.Queue[ToDaemon | None] = queue.Queue()
        self.seen: list[ToDaemon] = []
        self.pulses: queue.Queue[Pulse] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()

    def send(self, *messages: ToWorker) -> None:
        self.send_bytes(b"".join(map(encode, messages)))

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def next(self) -> ToDaemon:
        message = self._messages.get(timeout=TIMEOUT_S)
        assert message is not None, "the worker ended"
        self.seen.append(message)
        return message

    def next_of(self, kind: type[T], request_id: str | None = None) -> T:
        """Read on until there is a message of this kind (of this request)."""
        while True:
            message = self.next()
            if isinstance(message, kind) and request_id in (None, getattr(message, "request_id", None)):
                return message

    def load(self, folder: Path, *, context_tokens: int = 2048, **changes: Any) -> ToDaemon:
        fields = {"execution_provider": "cpu", "threads": 1, "max_concurrent": 4, **changes}
        self.send(Load(path=str(folder), context_tokens=context_tokens, **fields))
        return self.next()

    def text(self, request_id: str) -> str:
        return "".join(m.text for m in self.seen if isinstance(m, Delta) and m.request_id == request_id)

    def close_input(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as file:
            while header := file.read(4):
                message = decode(file.read(int.from_bytes(header, "big")))
                assert isinstance(message, ToDaemon)
                if isinstance(message, Pulse):  # comes at any time
                    self.pulses.put(message)
                else:
                    self._messages.put(message)
        self._messages.put(None)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as running:
        yield running


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> Iterator[Worker]:
    """A worker that several tests share; each uses its own request ids."""
    with Worker() as running:
        ready = running.load(tiny_model, context_tokens=1024)
        assert isinstance(ready, Ready)
        assert (ready.model_type, ready.device, ready.context_tokens) == ("qwen2", "cpu", 1024)
        assert ready.template_source == "chat_template.jinja"
        yield running


def ask(request_id: str, content: str = "Hello there", **fields: Any) -> Generate:
    given = {"max_tokens": 40, "sampling": GREEDY, **fields}
    return Generate(request_id=request_id, messages=[{"role": "user", "content": content}], **given)


def plain_greedy(folder: Path, content: str, count: int) -> str:
    """What the library's own loop answers, as text, with all tokens at once in the prompt."""
    config = og.Config(str(folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}))
    model = og.Model(config)
    tokenizer = GenaiTokenizer(model)
    prompt = tokenizer.encode(load_chat_template(folder).template.render([{"role": "user", "content": content}], []))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + count, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(prompt)
    text = AnswerText(tokenizer, [])
    shown = ""
    while not generator.is_done():
        generator.generate_next_token()
        token = int(generator.get_next_tokens()[0])
        if token not in tokenizer.end_ids:
            shown += text.push(token).text
    return shown + text.flush().text


def finished(worker: Worker, request_id: str) -> Finished:
    return worker.next_of(Finished, request_id)


def test_greedy_answers_are_those_of_the_librarys_own_loop(loaded: Worker, tiny_model: Path) -> None:
    long = "a long question " * 30
    loaded.send(ask("greedy-1"), ask("greedy-2", long))
    ends: Sequence[Finished] = [loaded.next_of(Finished), loaded.next_of(Finished)]
    assert {end.request_id for end in ends} == {"greedy-1", "greedy-2"}
    assert loaded.text("greedy-1") == plain_greedy(tiny_model, "Hello there", 40) != ""
    assert loaded.text("greedy-2") == plain_greedy(tiny_model, long, 40) != ""


def test_an_answer_is_accepted_streamed_and_ends_at_its_length(loaded: Worker) -> None:
    loaded.send(ask("length", max_tokens=7))
    accepted = loaded.next()
    end = finished(loaded, "length")
    assert accepted == Accepted("length", end.prompt_tokens)
    assert (end.finish_reason, end.completion_tokens) == ("length", 7)
    assert 0 <= end.queue_s <= end.ttft_s < TIMEOUT_S
    assert 0 < end.decode_s < TIMEOUT_S


def test_two_requests_at_once_are_interleaved(loaded: Worker) -> None:
    start = len(loaded.seen)
    loaded.send(
        ask("turns-1", max_tokens=60, sampling=Sampling(temperature=1, seed=1)),
        ask("turns-2", max_tokens=60, sampling=Sampling(temperature=1, seed=2)),
    )
    loaded.next_of(Finished)
    shown = Counter[str]()
    for message in loaded.seen[start:]:
        if isinstance(message, Delta):
            shown[message.request_id] += message.tokens
    loaded.next_of(Finished)
    assert min(shown["turns-1"], shown["turns-2"]) > 10
    assert abs(shown["turns-1"] - shown["turns-2"]) <= 10


def test_a_seed_gives_the_same_text_alone_and_beside_others(loaded: Worker) -> None:
    seeded = Sampling(temperature=0.8, top_p=0.95, seed=42)
    loaded.send(ask("alone", sampling=seeded))
    finished(loaded, "alone")
    loaded.send(ask("noise", sampling=Sampling(temperature=1), max_tokens=80), ask("beside", sampling=seeded))
    loaded.next_of(Finished)
    loaded.next_of(Finished)
    assert loaded.text("alone") == loaded.text("beside") != ""


def test_a_request_can_be_cancelled_in_the_middle(loaded: Worker) -> None:
    loaded.send(ask("cancelled", max_tokens=900, sampling=Sampling(temperature=1, seed=5)))
    loaded.next_of(Delta, "cancelled")
    loaded.send(Cancel("cancelled"))
    end = finished(loaded, "cancelled")
    assert end.finish_reason == "cancelled"
    assert 0 < end.completion_tokens < 900


def test_a_second_turn_reads_only_what_is_new_and_answers_the_same(worker: Worker, tiny_model: Path) -> None:
    worker.load(tiny_model, kept_rows=4)
    question = {"role": "user", "content": "What is this? " * 20}
    worker.send(Generate(request_id="1", messages=[question], max_tokens=20, sampling=GREEDY))
    first = finished(worker, "1")
    turns = [question, {"role": "assistant", "content": worker.text("1")}, {"role": "user", "content": "Go on"}]
    worker.send(Generate(request_id="2", messages=turns, max_tokens=20, sampling=GREEDY))
    second = finished(worker, "2")
    assert first.cached_tokens == 0
    assert first.prompt_tokens - 5 <= second.cached_tokens < second.prompt_tokens
    with Worker() as forgetful:
        forgetful.load(tiny_model, kept_rows=0)
        forgetful.send(Generate(request_id="2", messages=turns, max_tokens=20, sampling=GREEDY))
        assert finished(forgetful, "2").cached_tokens == 0
        assert forgetful.text("2") == worker.text("2")


def test_several_answers_come_numbered_and_end_once(loaded: Worker) -> None:
    loaded.send(ask("many", choices=2, max_tokens=6, sampling=Sampling(temperature=1.0, seed=3)))
    end = finished(loaded, "many")
    assert (end.completion_tokens, len(end.finish_reasons)) == (12, 2)
    texts = ["", ""]
    for message in loaded.seen:
        if isinstance(message, Delta) and message.request_id == "many":
            texts[message.choice] += message.text
    assert texts[0] != texts[1]


def test_log_probabilities_tell_the_bytes_of_the_answer(loaded: Worker) -> None:
    loaded.send(ask("likely", max_tokens=8, top_logprobs=2))
    finished(loaded, "likely")
    deltas = [each for each in loaded.seen if isinstance(each, Delta) and each.request_id == "likely"]
    entries = [entry for delta in deltas for entry in delta.logprobs]
    data = b"".join(bytes(entry.bytes) for entry in entries)
    assert data.decode("utf-8", "replace") == loaded.text("likely")
    # The likeliest token is the greedy one.
    assert all(entry.top[0].bytes == entry.bytes and entry.top[1].logprob <= entry.logprob <= 0 for entry in entries)


def test_a_bias_for_a_token_that_the_model_does_not_have_is_refused(loaded: Worker) -> None:
    loaded.send(ask("biased", sampling=Sampling(logit_bias={"999999": 1.0})))
    failed = loaded.next_of(Failed, "biased")
    assert (failed.code, failed.param) == ("invalid_request", "logit_bias")


def test_a_stop_string_ends_the_answer(loaded: Worker) -> None:
    loaded.send(ask("whole"))
    finished(loaded, "whole")
    stop = loaded.text("whole")[4:6]
    loaded.send(ask("stopped", stop=[stop]))
    assert finished(loaded, "stopped").finish_reason == "stop"
    assert loaded.text("stopped") == loaded.text("whole").partition(stop)[0]


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(loaded: Worker) -> None:
    loaded.send(ask("too-long", "word " * 3000))
    failed = loaded.next_of(Failed, "too-long")
    assert failed.code == "context_length_exceeded"
    assert failed.context_tokens == 1024
    assert failed.prompt_tokens is not None
    assert failed.prompt_tokens > 1024
    assert str(failed.prompt_tokens) in failed.message


def test_messages_that_the_template_refuses_are_the_callers_fault(loaded: Worker) -> None:
    loaded.send(Generate(request_id="refused", messages=[{"role": "user", "content": [{"type": "image_url"}]}]))
    assert loaded.next_of(Failed, "refused").code == "invalid_request"


def test_the_context_is_at_most_the_models_own(worker: Worker, tiny_model: Path) -> None:
    ready = worker.load(tiny_model, context_tokens=100_000)
    assert isinstance(ready, Ready)
    assert ready.context_tokens == 2048


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("genai_config.json", None, "missing_file"),
        ("genai_config.json", b"{oops", "invalid_file"),
        ("model.onnx", None, "missing_file"),
        ("model.onnx", b"garbage" * 99, "invalid_file"),
        ("tokenizer.json", b"{}", "invalid_file"),
        ("chat_template.jinja", b"{% for %}", "invalid_file"),
    ],
)
def test_a_damaged_folder_fails_to_load_with_a_reason(
    worker: Worker, folder: Path, name: str, content: bytes | None, code: str
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    failed = worker.load(folder)
    assert isinstance(failed, LoadFailed)
    assert failed.code == code
    assert str(folder) in failed.message or name in failed.message
    assert "Traceback" not in failed.message
    assert worker.process.wait(TIMEOUT_S) == 1


def test_a_model_type_that_the_library_does_not_know_is_unsupported(worker: Worker, folder: Path) -> None:
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    config["model"]["type"] = "martian"
    (folder / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    failed = worker.load(folder)
    assert isinstance(failed, LoadFailed)
    assert (failed.code, "martian" in failed.message) == ("unsupported", True)


@pytest.mark.parametrize("provider", ["qnn", "vitisai", "bogus"])
def test_a_provider_that_is_not_installed_is_named(worker: Worker, tiny_model: Path, provider: str) -> None:
    failed = worker.load(tiny_model, execution_provider=provider)
    assert isinstance(failed, LoadFailed)
    assert failed.code == "provider_missing"
    assert provider in failed.message.lower()


def test_the_process_ends_when_its_input_does_even_while_generating(worker: Worker, tiny_model: Path) -> None:
    worker.load(tiny_model)
    worker.send(ask("endless", max_tokens=None, sampling=Sampling(temperature=1, seed=1)))
    worker.next_of(Delta)
    worker.close_input()
    assert worker.process.wait(1) == 0


def test_the_process_ends_when_its_input_does_before_anything_was_loaded(worker: Worker) -> None:
    worker.close_input()
    assert worker.process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", encode(Cancel("x"))])
def test_input_that_is_no_conversation_ends_the_process(worker: Worker, data: bytes) -> None:
    worker.send_bytes(data)
    assert worker.process.wait(TIMEOUT_S) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send to a single process")
def test_an_interrupt_from_the_terminal_is_not_for_the_worker(worker: Worker, tiny_model: Path) -> None:
    worker.load(tiny_model)
    worker.process.send_signal(signal.SIGINT)
    worker.send(ask("after", max_tokens=3))
    assert finished(worker, "after").finish_reason == "length"


def test_signs_of_life_come_from_the_start_on_and_while_there_is_nothing_to_do(
    worker: Worker, tiny_model: Path
) -> None:
    worker.pulses.get(timeout=TIMEOUT_S)
    assert worker.pulses.empty()  # nothing is said while there is no model
    worker.load(tiny_model)
    ready_s = time.monotonic()
    for _ in range(2):
        worker.pulses.get(timeout=2 * PULSE_S)
    assert time.monotonic() - ready_s > PULSE_S


def test_what_rows_take_is_told_when_the_last_answer_has_ended(worker: Worker, tiny_model: Path) -> None:
    worker.load(tiny_model)
    worker.send(ask("rows", max_tokens=20))
    prompt_tokens = worker.next_of(Accepted).prompt_tokens
    finished(worker, "rows")
    said = Pulse()
    while not said.kept_tokens:
        said = worker.pulses.get(timeout=TIMEOUT_S)
    assert (said.row_tokens, said.cache_tokens) == ([], 2048)
    # The last token of an answer is never read.
    assert said.kept_tokens == [said.reserved_tokens] == [prompt_tokens + 20 - 1]


def test_what_is_kept_ready_is_small_and_knows_nothing_of_database_and_web() -> None:
    code = (
        "import sys, daemon.worker.main as main; main._import_ahead();"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert {"onnxruntime_genai", "numpy", "jinja2"} <= imported
    assert not imported & {"pydantic", "sqlmodel", "sqlalchemy", "fastapi", "psutil", "asyncio", "uvicorn", "selector"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other ways")
def test_a_process_that_is_kept_ready_holds_less_than_90_mb(worker: Worker) -> None:
    worker.pulses.get(timeout=TIMEOUT_S)
    assert status_of(worker, "VmRSS") < 90_000


def status_of(worker: Worker, key: str) -> int:
    """A number from the system's report about the process; memory in kB."""
    lines = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def cores_of(worker: Worker) -> set[frozenset[int]]:
    """The different sets of cores that the threads of the process run on."""
    tasks = Path(f"/proc/{worker.process.pid}/task").iterdir()
    return {frozenset(os.sched_getaffinity(int(task.name))) for task in tasks}


@needs_cores
def test_all_threads_move_to_the_cores_they_are_given_also_while_idle(worker: Worker, tiny_model: Path) -> None:
    every = frozenset(os.sched_getaffinity(0))
    one = max(every)
    worker.load(tiny_model, threads=2, cores=[min(every)])
    assert status_of(worker, "Threads") > 2  # the loop, the reader of messages, and the engine's own
    assert cores_of(worker) == {every}  # loading is over
    worker.send(UseCores([one, 4000]))
    wait_until(lambda: cores_of(worker) == {frozenset({one})})
    worker.send(ask("pinned", max_tokens=3))
    assert finished(worker, "pinned").completion_tokens == 3
    worker.send(UseCores([]))
    wait_until(lambda: cores_of(worker) == {every})


@needs_cores
def test_on_a_share_of_the_cores_other_threads_do_not_interrupt_the_one_that_computes(
    worker: Worker, tiny_model: Path
) -> None:
    def others() -> set[int]:
        tasks = (int(task.name) for task in Path(f"/proc/{worker.process.pid}/task").iterdir())
        return {os.sched_getscheduler(task) for task in tasks if task != worker.process.pid}

    worker.load(tiny_model, threads=2)
    assert others() == {os.SCHED_OTHER}
    worker.send(UseCores([min(os.sched_getaffinity(0))]))
    wait_until(lambda: others() == {os.SCHED_BATCH})
    assert os.sched_getscheduler(worker.process.pid) == os.SCHED_OTHER
    worker.send(UseCores([]))
    wait_until(lambda: others() == {os.SCHED_OTHER})


@needs_cores
def test_cores_are_changed_in_the_middle_of_an_answer(worker: Worker, tiny_model: Path) -> None:
    one = min(os.sched_getaffinity(0))
    worker.load(tiny_model)
    worker.send(ask("long", max_tokens=None, sampling=Sampling(temperature=1, seed=1)))
    worker.next_of(Delta, "long")
    worker.send(UseCores([one]))
    wait_until(lambda: cores_of(worker) == {frozenset({one})})
    worker.send(Cancel("long"))
    assert finished(worker, "long").completion_tokens > 0


@needs_cores
def test_loading_stays_on_the_cores_it_is_given(worker: Worker, tmp_path: Path) -> None:
    folder = write_preset("small", tmp_path / "small")  # takes long enough to look
    one = min(os.sched_getaffinity(0))
    worker.pulses.get(timeout=TIMEOUT_S)
    worker.send(
        Load(path=str(folder), execution_provider="cpu", threads=2, context_tokens=512, max_concurrent=1, cores=[one])
    )
    wait_until(lambda: cores_of(worker) == {frozenset({one})})
    assert isinstance(worker.next(), Ready)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_nothing_of_a_prompt_is_printed(worker: Worker, tiny_model: Path) -> None:
    worker.load(tiny_model)
    worker.send(ask("secret", "xyzzy-secret", max_tokens=3), ask("secret-2", "xyzzy-secret " * 2000))
    while not {Finished, Failed} <= {type(message) for message in worker.seen}:
        worker.next()
    worker.close_input()
    worker.process.wait(TIMEOUT_S)
    assert worker.process.stderr
    assert b"xyzzy" not in worker.process.stderr.read()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process can be limited on Linux only")
def test_an_answer_that_there_is_no_memory_for_fails_as_such_and_the_next_one_works(
    worker: Worker, tmp_path: Path
) -> None:
    import resource

    folder = write_preset("small", tmp_path / "small")
    # The other engine has addresses for all its rows from the start.
    assert isinstance(worker.load(folder, context_tokens=8192, engine="generator"), Ready)
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text(encoding="ascii").split()[0])
    room_bytes = 24 * 1024 * 1024  # 8,192 tokens of its key-value cache take 64 MiB
    limit_bytes = pages * resource.getpagesize() + room_bytes
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (limit_bytes, resource.RLIM_INFINITY))
    worker.send(ask("too-long", max_tokens=8000))
    failed = worker.next_of(Failed, "too-long")
    assert (failed.code, kind_of_request(failed)) == ("generation_failed", FailureKind.OUT_OF_MEMORY), failed.message
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    worker.send(ask("next", max_tokens=3))
    assert finished(worker, "next").completion_tokens == 3


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process can be limited on Linux only")
def test_a_model_that_there_is_no_memory_for_fails_to_load_as_such(worker: Worker, tmp_path: Path) -> None:
    import resource

    folder = write_preset("small", tmp_path / "small", quantization=Quantization.FP32)
    worker.pulses.get(timeout=TIMEOUT_S)
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text(encoding="ascii").split()[0])
    # Small things still find room: where nothing does, a process cannot tell and dies. The weights take 77 MiB.
    limit_bytes = pages * resource.getpagesize() + 48 * 1024 * 1024
    resource.prlimit(worker.process.pid, resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    failed = worker.load(folder)
    assert isinstance(failed, LoadFailed)
    assert (failed.code, kind_of_load(failed)) == ("out_of_memory", FailureKind.OUT_OF_MEMORY), failed.message


def test_a_model_for_dynamic_batching_goes_to_the_librarys_engine(worker: Worker, folder: Path) -> None:
    """It needs paged attention, which this graph does not have: the engine itself says so."""
    config = json.loads((folder / "genai_config.json").read_text())
    config["engine"] = {"dynamic_batching": {"block_size": 256, "max_batch_size": 8, "num_blocks": 16}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    failed = worker.load(folder)
    assert isinstance(failed, LoadFailed)
    assert "Paged cache" in failed.message
