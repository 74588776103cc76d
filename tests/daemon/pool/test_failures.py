from __future__ import annotations

import signal

import pytest

from daemon.pool.failures import FailureKind, ending_of, kind_of_load, kind_of_request, speaks_of_memory
from daemon.pool.protocol import Failed, LoadFailed
from daemon.worker.errors import LoadCode
from registry.errors import GenerationFailed, InvalidRequest

NO_MEMORY, OTHER = FailureKind.OUT_OF_MEMORY, FailureKind.OTHER
MISSING, CRASHED = FailureKind.MISSING_FILE, FailureKind.CRASHED
SIGKILL = 9

# What libraries say when there is none left; the first three were heard under a limit with onnxruntime-genai 0.18.
OUT_OF_MEMORY = [
    "Exception during initialization: std::bad_alloc",
    "Could not allocate the key-value cache buffer of shape: [batch_size (1), num_key_value_heads (2), max_length "
    "(8192), head_size (64)] for 8 layers. Try reducing the max_length requested or reducing the batch size.",
    "libonnxruntime-genai.so: failed to map segment from shared object",
    "bad allocation",
    "bfc_arena.cc:380 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to "
    "allocate memory for requested buffer of size 1342177280",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=box ; expr=cudaMalloc((void**)&p, size);",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
    "[Errno 12] Cannot allocate memory",
    "libonnxruntime.so.1: failed to map segment from shared object: Cannot allocate memory",
    "Unable to allocate 1.16 GiB for an array with shape (152064, 2048) and data type float32",
    "open file model.onnx.data fail, errcode = 1455 - The paging file is too small for this operation to complete.",
    "8007000E Not enough memory resources are available to complete this operation.",
    "MemoryError",
]
SOMETHING_ELSE = [
    "Protobuf parsing failed.",
    "libonnxruntime-genai.so: failed to map segment from shared object: Operation not permitted",
    "Load model from model.onnx failed: File doesn't exist",
    "Input sequence_length (9) exceeds max length (8)",
    "Non-zero status code returned while running GatherBlockQuantized node. index out of data bounds",
    "",
]


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_what_libraries_say_when_memory_is_short_is_understood(message: str) -> None:
    assert speaks_of_memory(message)
    assert kind_of_request(_failed(GenerationFailed.code, f"The engine failed at this request: {message}")) is NO_MEMORY


@pytest.mark.parametrize("message", SOMETHING_ELSE)
def test_other_failures_are_not_taken_for_it(message: str) -> None:
    assert not speaks_of_memory(message)
    assert kind_of_request(_failed(GenerationFailed.code, message)) is OTHER


def test_a_refused_chat_is_not_judged_by_its_words() -> None:
    message = "The model's chat template refused this chat: bad allocation of roles, out of memory"
    assert kind_of_request(_failed(InvalidRequest.code, message)) is OTHER


def test_a_failed_load_is_judged_by_the_workers_code_not_by_the_name_of_a_folder() -> None:
    assert kind_of_load(LoadFailed(LoadCode.OUT_OF_MEMORY, "no room")) is NO_MEMORY
    assert kind_of_load(LoadFailed(LoadCode.MISSING_FILE, "/models/out of memory/model.onnx is missing")) is MISSING


@pytest.mark.parametrize("code", LoadCode)
def test_every_reason_that_a_worker_gives_has_a_kind_of_its_own(code: LoadCode) -> None:
    kind = kind_of_load(LoadFailed(code, "no"))
    assert kind is (OTHER if code is LoadCode.FAILED else FailureKind(code))


@pytest.mark.parametrize("code", ["hung", "killed", "crashed", "timed_out", "martian"])
def test_what_only_the_daemon_can_know_is_not_taken_from_a_worker(code: str) -> None:
    assert kind_of_load(LoadFailed(code, "no")) is OTHER


@pytest.mark.parametrize(
    ("code", "last_words", "kind"),
    [
        (-SIGKILL, [], FailureKind.KILLED),
        (-SIGKILL, ["std::bad_alloc"], NO_MEMORY),
        (-6, ["terminate called after throwing an instance of 'std::bad_alloc'"], NO_MEMORY),
        (1, ["Traceback (most recent call last):", "MemoryError"], NO_MEMORY),
        (0xC0000017, [], NO_MEMORY),
        (-11, ["Segmentation fault"], CRASHED),
        (-6, ["free(): invalid pointer"], CRASHED),
        (-4, [], CRASHED),
        (0xC0000005, [], CRASHED),
        (0xC0000409, [], CRASHED),
        (-15, [], OTHER),
        (3, [], OTHER),
        (0, ["bad allocation, handled"], OTHER),
    ],
)
def test_a_process_that_died_at_work_is_judged_by_how(code: int, last_words: list[str], kind: FailureKind) -> None:
    assert ending_of(code, last_words, was_working=True).kind is kind


def test_a_process_that_was_killed_while_it_rested_had_to_make_room_for_others() -> None:
    assert ending_of(-SIGKILL, was_working=False).kind is OTHER


def test_a_crash_is_one_also_when_the_process_rested() -> None:
    assert ending_of(-11, was_working=False).kind is CRASHED


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signals")
def test_an_ending_is_told_in_words() -> None:
    assert ending_of(3, was_working=True).words == "ended with exit code 3"
    assert ending_of(-SIGKILL, was_working=False).words.startswith("was killed by SIGKILL (often:")
    assert ending_of(-11, was_working=False).words == "was killed by SIGSEGV"
    assert ending_of(0xC0000005, was_working=True).words == "ended with exit code 0xC0000005 (STATUS_ACCESS_VIOLATION)"
    assert ending_of(-250, was_working=False).words == "was killed by signal 250"


def _failed(code: str, message: str) -> Failed:
    return Failed(request_id="r", code=code, message=message)
