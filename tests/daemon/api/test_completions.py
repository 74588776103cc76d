"""OpenAI's older endpoint: what of a request reaches the worker, what is refused, and every byte that is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daemon.api.completions import CompletionRequest
from daemon.api.headers import Wishes
from daemon.pool.protocol import Accepted, Delta, Failed, TokenLogprob
from registry.errors import GenerationFailed
from registry.model import Task
from selector.policy import Policy
from tests.daemon.api.scripted import Endpoint, endpoint
from tests.daemon.test_answers import finished
from tests.fakes import on_loop

HI = TokenLogprob(
    token="Hi",
    bytes=[72, 105],
    logprob=-0.25,
    top=[TokenLogprob(token="Ho", bytes=[72, 111], logprob=-0.125)],
)
BROKEN = TokenLogprob(token="\ufffd", bytes=[240, 159], logprob=-20000.0)


def says(text: str, *, choice: int = 0, **fields: Any) -> Delta:
    return Delta("r", text, 1, choice=choice, **fields)


def request(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"prompt": "Once", **fields})


async def whole(served: Endpoint, **fields: Any) -> Any:
    response = await served.post_to("/v1/completions", {"model": "a", "prompt": "Once", **fields})
    assert response.status_code == 200, response.text
    return response.json()


async def frames(served: Endpoint, **fields: Any) -> list[str]:
    body = {"model": "a", "prompt": "Once", "stream": True, **fields}
    response = await served.post_to("/v1/completions", body)
    assert response.status_code == 200, response.text
    *events, end = response.text.split("\n\n")
    assert end == ""
    return [event.removeprefix("data: ") for event in events]


# -- what comes in


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("Once", ["Once"]),
        ([1, 2], [[1, 2]]),
        (["Once", "upon"], ["Once", "upon"]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_every_kind_of_prompt_goes_to_the_model_as_it_is(prompt: Any, prompts: list[Any]) -> None:
    made = request(prompt=prompt).as_generates()
    assert [each.prompt for each in made] == prompts
    assert all(each.messages == [] for each in made)
    assert len({each.request_id for each in made}) == len(made)


def test_what_a_request_leaves_out_is_openais_default_or_the_models_own() -> None:
    (made,) = request().as_generates()
    assert (made.max_tokens, made.choices, made.top_logprobs, made.stop) == (16, 1, None, [])
    assert made.sampling.temperature is None
    (nothing,) = request(**dict.fromkeys(("max_tokens", "n", "logprobs", "stop", "suffix", "best_of"))).as_generates()
    assert (nothing.max_tokens, nothing.choices) == (16, 1)


def test_how_tokens_are_drawn_reaches_the_worker() -> None:
    (made,) = request(
        max_tokens=5,
        n=2,
        best_of=2,
        logprobs=3,
        stop="END",
        seed=1,
        logit_bias={"5": 1},
        presence_penalty=0.5,
    ).as_generates()
    assert (made.max_tokens, made.choices, made.top_logprobs, made.stop) == (5, 2, 3, ["END"])
    assert (made.sampling.seed, made.sampling.logit_bias, made.sampling.presence_penalty) == (1, {"5": 1}, 0.5)


def test_a_prompt_says_what_is_wanted_for_auto() -> None:
    wants = request(prompt=["x" * 300, "y"], max_tokens=7).wants(Wishes(Task.CODE, Policy.FAST))
    assert (wants.task, wants.policy, wants.turns, wants.context_tokens) == (Task.CODE, Policy.FAST, ("x" * 300,), 107)
    assert request(prompt=[1, 2, 3]).wants().context_tokens == 19


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"best_of": 2}, "best_of", "unsupported_parameter"),
        ({"echo": True, "logprobs": 0}, "logprobs", "unsupported_parameter"),
        ({"messages": []}, "messages", "unsupported_parameter"),
        ({"max_completion_tokens": 5}, "max_completion_tokens", "unsupported_parameter"),
        ({"top_logprobs": 5}, "top_logprobs", "unsupported_parameter"),
        ({"prompt": ["a", ""]}, "prompt", "invalid_request"),
        ({"prompt": None}, "prompt", "invalid_request"),
        ({"prompt": []}, "prompt", "invalid_request"),
        ({"prompt": ["x"] * 33}, "prompt", "invalid_request"),
        ({"prompt": [-1]}, "prompt", "invalid_request"),
        ({"logprobs": 6}, "logprobs", "invalid_request"),
        ({"logprobs": True}, "logprobs", "invalid_request"),
        ({"max_tokens": 0}, "max_tokens", "invalid_request"),
        ({"n": 17}, "n", "invalid_request"),
        ({"min_tokens": 17}, "min_tokens", "invalid_request"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_request"),
    ],
)
@on_loop
async def test_what_cannot_be_honoured_is_a_400_that_names_it(fields: dict[str, Any], param: str, code: str) -> None:
    async with endpoint(finished()) as served:
        response = await served.post_to("/v1/completions", {"model": "a", "prompt": "Once", **fields})
        assert served.all_asked == []
    error = response.json()["error"]
    assert (response.status_code, error["param"].partition(".")[0], error["code"]) == (400, param, code)


def test_as_many_prompts_as_allowed_are_taken() -> None:
    assert len(request(prompt=["x"] * 32).as_generates()) == 32


@on_loop
async def test_what_the_worker_refuses_of_a_prompt_is_blamed_on_it() -> None:
    script = Failed(request_id="r", code="context_length_exceeded", message="", prompt_tokens=9, context_tokens=8)
    async with endpoint() as served:
        served.script = (script,)
        response = await served.post_to("/v1/completions", {"model": "a", "prompt": "Once"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")


# -- what goes out


@on_loop
async def test_a_stream_byte_for_byte() -> None:
    async with endpoint(says(" upon"), says(" é"), finished(finish_reason="length")) as served:
        told = await frames(served)
    first = json.loads(told[0])
    assert first["id"].startswith("cmpl-")
    head = (
        f'{{"id":"{first["id"]}","object":"text_completion","created":{first["created"]},"model":"a:1",'
        '"choices":[{"text":'
    )
    assert told == [
        head + '" upon","index":0,"logprobs":null,"finish_reason":null}]}',
        head + '" \\u00e9","index":0,"logprobs":null,"finish_reason":null}]}',
        head + '"","index":0,"logprobs":null,"finish_reason":"length"}]}',
        "[DONE]",
    ]


@on_loop
async def test_a_whole_answer_has_openais_shape() -> None:
    async with endpoint(says(" upon"), finished()) as served:
        answer = await whole(served)
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage"}
    assert (answer["object"], answer["model"]) == ("text_completion", "a:1")
    assert answer["choices"] == [{"text": " upon", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (100, 11)


@on_loop
async def test_prompts_are_answered_one_after_the_other_by_the_same_model() -> None:
    script = (says("0"), says("1", choice=1), finished(finish_reasons=["stop", "length"]))
    async with endpoint(*script) as served:
        answer = await whole(served, prompt=["Once", "upon"], n=2)
        *chunks, last, done = await frames(served, prompt=["Once", "upon"], n=2, stream_options={"include_usage": True})
        assert [each.prompt for each in served.all_asked] == ["Once", "upon"] * 2
        assert served.active == 0
    assert [(c["index"], c["text"], c["finish_reason"]) for c in answer["choices"]] == [
        (0, "0", "stop"),
        (1, "1", "length"),
        (2, "0", "stop"),
        (3, "1", "length"),
    ]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (200, 22)
    told = [json.loads(chunk) for chunk in chunks]
    assert [chunk["choices"][0]["index"] for chunk in told] == [0, 1, 0, 1, 2, 3, 2, 3]
    assert all(chunk["usage"] is None for chunk in told)
    assert (json.loads(last)["choices"], json.loads(last)["usage"], done) == ([], answer["usage"], "[DONE]")


@on_loop
async def test_an_echo_begins_each_answer_with_its_prompt() -> None:
    async with endpoint(says(" upon"), says("!", choice=1), finished()) as served:
        answer = await whole(served, echo=True, n=2)
        told = [json.loads(chunk)["choices"][0] for chunk in (await frames(served, echo=True, n=2))[:-1]]
    assert [choice["text"] for choice in answer["choices"]] == ["Once upon", "Once!"]
    assert [(choice["index"], choice["text"]) for choice in told] == [
        *[(0, "Once"), (1, "Once"), (0, " upon"), (1, "!"), (0, ""), (1, "")]
    ]


@on_loop
async def test_token_ids_are_echoed_as_the_text_they_are() -> None:
    async with endpoint() as served:
        served.script = (Accepted("r", 2, "the text"), says(" goes on"), finished())
        answer = await whole(served, prompt=[5, 6], echo=True)
    assert answer["choices"][0]["text"] == "the text goes on"


@on_loop
async def test_log_probabilities_are_lists_side_by_side() -> None:
    script = (says("Hi", logprobs=[HI]), says("Hi", logprobs=[HI, BROKEN]), finished())
    async with endpoint(*script) as served:
        (choice,) = (await whole(served, logprobs=1))["choices"]
        told = [json.loads(chunk)["choices"][0]["logprobs"] for chunk in (await frames(served, logprobs=1))[:-1]]
        assert (await whole(served))["choices"][0]["logprobs"] is None
    assert choice["logprobs"] == {
        "tokens": ["Hi", "Hi", "bytes:\\xf0\\x9f"],
        "token_logprobs": [-0.25, -0.25, -9999.0],
        "top_logprobs": [{"Ho": -0.125, "Hi": -0.25}, {"Ho": -0.125, "Hi": -0.25}, {"bytes:\\xf0\\x9f": -9999.0}],
        "text_offset": [0, 2, 4],
    }
    assert [each and each["text_offset"] for each in told] == [[0], [2, 4], None]
    assert [token for each in told if each for token in each["tokens"]] == choice["logprobs"]["tokens"]


@on_loop
async def test_no_alternatives_are_told_where_none_were_asked_for() -> None:
    async with endpoint(says("Hi", logprobs=[BROKEN]), finished()) as served:
        (choice,) = (await whole(served, logprobs=0))["choices"]
    assert choice["logprobs"]["top_logprobs"] is None


@on_loop
async def test_an_answer_that_breaks_ends_with_the_error_and_without_done() -> None:
    script = (says("Hi"), Failed(request_id="r", code=GenerationFailed.code, message="The engine broke."))
    async with endpoint(*script) as served:
        *_, last = await frames(served, prompt=["Once", "upon"])
        response = await served.post_to("/v1/completions", {"model": "a", "prompt": "Once"})
        assert served.active == 0
    assert (response.status_code, response.json()["error"]) == (500, json.loads(last)["error"])


@on_loop
async def test_a_deadline_is_for_a_single_prompt() -> None:
    statuses = []
    async with endpoint(says("Hi"), finished()) as served:
        for prompt, deadline in (("a", "5"), (["a", "b"], "5"), ("a", "soon")):
            body = {"model": "a", "prompt": prompt}
            statuses.append(
                (await served.post_to("/v1/completions", body, {"x-slmreg-deadline": deadline})).status_code
            )
    assert statuses == [200, 400, 400]
