from __future__ import annotations

from collections.abc import Iterable

from daemon.pool.observer import Loaded
from daemon.proofs import Proofs, installed_runtime
from registry.experience import EngineProof
from registry.model import Model
from tests.fakes import a_model, on_loop

A, B = a_model("a", content="ca"), a_model("b", content="cb")


class Books:
    """What is written down."""

    def __init__(self) -> None:
        self.written: list[EngineProof] = []
        self.is_broken = False

    def record(self, proof: EngineProof) -> None:
        if self.is_broken:
            raise OSError("the disk is full")
        self.written.append(proof)

    def proofs(self, known: Iterable[EngineProof] = (), runtime: str = "1.0") -> Proofs:
        return Proofs(self.record, known, runtime=runtime, now=lambda: 5.0)


def load_of(model: Model, *, is_proven: bool | None) -> Loaded:
    return Loaded(
        model=model,
        threads=2,
        context_tokens=1024,
        load_s=1.0,
        resident_bytes=1000,
        peak_bytes=None,
        is_proven=is_proven,
    )


@on_loop
async def test_what_a_load_found_out_is_known_at_once_and_written_down_once() -> None:
    books = Books()
    proofs = books.proofs()
    assert proofs.find(A) is None
    for _ in range(2):
        proofs.loaded(load_of(A, is_proven=True))
    proofs.loaded(load_of(B, is_proven=None))
    assert (proofs.find(A), proofs.find(B)) == (True, None)
    await proofs.written()
    expected = EngineProof(model_id=A.id, content="ca", runtime="1.0", is_proven=True, proven_s=5.0)
    assert books.written == [expected]


@on_loop
async def test_what_was_written_down_holds_for_the_same_files_and_runtime() -> None:
    books = Books()
    first = books.proofs()
    first.loaded(load_of(A, is_proven=False))
    await first.written()
    assert books.proofs(books.written).find(A) is False
    assert books.proofs(books.written, runtime="1.1").find(A) is None
    assert books.proofs(books.written).find(a_model("a", content="other")) is None


@on_loop
async def test_a_model_whose_content_is_not_known_is_compared_each_time() -> None:
    books = Books()
    proofs, unread = books.proofs(), a_model("c", content="")
    proofs.loaded(load_of(unread, is_proven=True))
    await proofs.written()
    assert (proofs.find(unread), books.written) == (None, [])


@on_loop
async def test_a_proof_that_cannot_be_written_is_remembered_as_long_as_the_daemon_runs() -> None:
    books = Books()
    books.is_broken = True
    proofs = books.proofs()
    proofs.loaded(load_of(A, is_proven=True))
    await proofs.written()
    assert proofs.find(A) is True


def test_the_runtime_names_all_that_computes() -> None:
    runtime = installed_runtime()
    assert all(part in runtime for part in ("slmreg ", "onnxruntime-genai ", "onnxruntime "))
