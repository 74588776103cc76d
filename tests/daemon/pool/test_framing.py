from __future__ import annotations

from typing import get_args

import pytest

from daemon.pool.framing import MAX_FRAME_BYTES, ProtocolError, decode, encode, frame_size
from daemon.pool.protocol import (
    Accepted,
    Cancel,
    Delta,
    Embed,
    Embedded,
    Failed,
    Finished,
    Generate,
    Guide,
    Load,
    LoadFailed,
    Measure,
    Measured,
    Message,
    Pulse,
    Ready,
    Sampling,
    TokenLogprob,
    ToolCallDelta,
    Transcribe,
    UseCores,
)

MESSAGES: list[Message] = [
    Load(
        path="/m", execution_provider="cpu", threads=2, context_tokens=4096, max_concurrent=4, allowed_libraries=["ab"]
    ),
    Generate(
        request_id="r",
        messages=[{"role": "user", "content": "grüße \u2028 \U0001f600"}],
        tools=[{"type": "function", "function": {"name": "f"}}],
        max_tokens=5,
        stop=["\n"],
        sampling=Sampling(temperature=0.5, seed=-3),
        thinking=False,
    ),
    Generate(request_id="r", messages=[{"role": "user", "content": "half a pair: \ud800"}]),
    Cancel("r"),
    Ready(model_type="qwen2", device="cpu", context_tokens=4096, load_s=0.5, template_source="chat_template.jinja"),
    Generate(
        request_id="r",
        messages=[],
        tool_choice="function",
        tool_name="f",
        choices=2,
        top_logprobs=3,
        guide=Guide(kind="json_schema", text="{}"),
        sampling=Sampling(min_p=0.1, repetition_penalty=1.1, logit_bias={"5": -100}),
        adapter="pirate",
    ),
    Generate(request_id="r", messages=[], prompt=[1, 2]),
    Generate(request_id="r", messages=[{"role": "user", "content": "hi"}], prefill="Well"),
    Embed(request_id="r", inputs=["a", [1, 2]]),
    Transcribe(request_id="r", audio="UklGRg==", language="en"),
    UseCores([1]),
    Measure(request_id="r", rows=4, tokens=1, calls=3),
    Measured("r", [0.25, 0.5]),
    Pulse(row_tokens=[3, 250], kept_tokens=[17], reserved_tokens=529, cache_tokens=1024),
    Embedded(request_id="r", vectors="AACAPw==", dimensions=1, prompt_tokens=2),
    Delta(
        "r",
        "",
        2,
        choice=1,
        reasoning="hm",
        tool_calls=[ToolCallDelta(index=0, name="f"), ToolCallDelta(index=0, arguments="{}")],
        logprobs=[
            TokenLogprob(token="a", bytes=[97], logprob=-0.5, top=[TokenLogprob(token="b", bytes=[98], logprob=-1.0)])
        ],
    ),
    LoadFailed("missing_file", "no model.onnx"),
    Accepted("r", 7),
    Accepted("r", 2, "the text"),
    Delta("r", "é", 1),
    Finished(
        request_id="r",
        finish_reason="stop",
        prompt_tokens=7,
        completion_tokens=1,
        queue_s=0.0,
        ttft_s=0.1,
        decode_s=0.2,
        stop_string="END",
    ),
    Failed(request_id="r", code="context_length_exceeded", message="too long", prompt_tokens=9, context_tokens=8),
]


def test_every_kind_of_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_equal(message: Message) -> None:
    frame = encode(message)
    assert frame_size(frame[:4]) == len(frame) - 4
    assert decode(frame[4:]) == message


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"type": "Nothing"}', b'{"type": "Cancel"}', b"\xff", b'{"type": []}']
)
def test_other_bytes_are_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(body)


def test_a_header_that_announces_too_much_is_refused_before_anything_is_read() -> None:
    assert frame_size(MAX_FRAME_BYTES.to_bytes(4, "big")) == MAX_FRAME_BYTES
    with pytest.raises(ProtocolError, match="over the limit"):
        frame_size((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
