from __future__ import annotations

import pytest

from daemon.api.errors import STATUS, error_body, error_response, without_folders
from registry import errors


def every_error() -> list[type[errors.SlmregError]]:
    found = [errors.SlmregError]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub.__module__ == errors.__name__]
    return [kind for kind in found if not kind.__name__.startswith("_")]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_own_row_and_stands_in_the_tree(kind: type[errors.SlmregError]) -> None:
    assert 400 <= STATUS[kind] < 600
    assert kind.__name__ in (errors.__doc__ or "")


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in every_error() if "code" in vars(kind)]
    assert len(codes) == len(set(codes))


def test_the_envelope_is_openais() -> None:
    body = error_body(errors.ContextLengthExceeded(900, 512))
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert body["error"]["code"] == "context_length_exceeded"
    assert "900" in body["error"]["message"]
    assert "512" in body["error"]["message"]


def test_retry_after_is_whole_seconds_rounded_up() -> None:
    response = error_response(errors.Overloaded("full", retry_after_s=1.2))
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    assert "retry-after" not in error_response(errors.ModelNotFound("x")).headers


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "The registry /home/me/.local/slmreg/registry.db is gone.",
            "The registry registry.db is gone.",
        ),
        ("Load model from '/srv/models/phi/model.onnx' failed:/a/b.so", "Load model from 'model.onnx' failed:b.so"),
        (r"Load model from C:\Users\me\phi\model.onnx failed", "Load model from model.onnx failed"),
        ("Use http://127.0.0.1:7567/v1/models, or image/png and deepseek-ai/r1.", None),
        ("12 tokens/s, `slmreg roots add ~/models`, 1/2 and /.", None),
    ],
)
def test_errors_say_which_file_and_not_where_it_lies(message: str, told: str | None) -> None:
    assert without_folders(message) == (told or message)
    assert error_body(errors.DatabaseError(message))["error"]["message"] == (told or message)
