"""The official Ollama client, sync and async, against one real daemon with the demo model and factory-made ones."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import httpx
import ollama
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict

from daemon.cli import main
from scripts.model_factory.text_encoder import write_text_encoder
from tests.e2e.conftest import Served, start_with_talker
from tests.e2e.test_demo_model import ANSWERS, WEATHER_TOOL

QUESTION = next(iter(ANSWERS))
ASK: Any = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0}


class Paint(BaseModel):
    """Bounded, so that also a model that talks nonsense comes to an end."""

    model_config = ConfigDict(extra="forbid")

    colour: Literal["red", "green", "blue"]
    is_dry: bool


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("ollama")
    write_text_encoder(root / "models" / "encoder")
    with ExitStack() as stack:
        yield start_with_talker(root, tiny, stack)


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Any]:
    """Untyped: its overloads do not take parameters from a dict."""
    make: Any = ollama.Client
    with make(host=served.url, timeout=60, trust_env=False) as client:
        yield client


def loaded(served: Served) -> set[str]:
    return {session_id for session_id, session in served.sessions().items() if session["state"] == "ready"}


# -- answers


def test_a_chat_is_answered_whole_with_its_numbers(client: Any) -> None:
    answer = client.chat("talker", ASK, options=GREEDY)
    assert (answer.message.role, answer.message.content) == ("assistant", ANSWERS[QUESTION])
    assert (answer.model, answer.done, answer.done_reason) == ("talker:0", True, "stop")
    assert answer.eval_count > 5
    assert answer.prompt_eval_count > 5
    assert 0 < answer.eval_duration <= answer.total_duration
    assert 0 < answer.prompt_eval_duration <= answer.total_duration


def test_a_stream_adds_up_to_the_same_and_ends_with_the_numbers(client: Any) -> None:
    *parts, last = client.chat("talker:latest", ASK, options=GREEDY, stream=True)
    assert "".join(part.message.content for part in parts) == ANSWERS[QUESTION]
    assert len(parts) > 5
    assert not any(part.done or part.eval_count for part in parts)
    assert (last.message.content, last.done, last.done_reason) == ("", True, "stop")
    assert last.eval_count > 5


def test_a_prompt_is_answered_like_the_chat_that_it_is(client: Any) -> None:
    whole = client.generate("talker", QUESTION, options=GREEDY)
    assert (whole.response, whole.done_reason) == (ANSWERS[QUESTION], "stop")
    parts = list(client.generate("talker", QUESTION, options=GREEDY, stream=True))
    assert "".join(part.response for part in parts) == ANSWERS[QUESTION]


def test_a_raw_prompt_goes_on_from_the_very_text(client: Any) -> None:
    """In the words of the demo model's own template."""
    text = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    raw = client.generate("talker", text, raw=True, options=GREEDY)
    assert raw.response == ANSWERS[QUESTION]


def test_the_async_client_can_ask_several_at_once(served: Served) -> None:
    async def ask() -> list[Any]:
        make: Any = ollama.AsyncClient
        client = make(host=served.url, timeout=60, trust_env=False)
        whole = client.chat("talker", ASK, options=GREEDY)
        stream = await client.chat("talker", ASK, options=GREEDY, stream=True)
        text = "".join([part.message.content or "" async for part in stream])
        answers = [(await whole).message.content, text]
        await client.close()
        return answers

    assert asyncio.run(ask()) == [ANSWERS[QUESTION]] * 2


def test_options_bound_the_answer_and_make_it_the_same_again(client: Any) -> None:
    def ask(**options: Any) -> Any:
        return client.chat("tiny-random", ASK, options={"temperature": 1.5, "num_predict": 24, **options})

    short = ask(num_predict=5)
    assert (short.eval_count, short.done_reason) == (5, "length")
    assert ask(seed=7).message.content == ask(seed=7).message.content
    assert ask(seed=7, num_thread=2, num_gpu=99, num_batch=8).message.content == ask(seed=7).message.content
    text = ANSWERS[QUESTION]
    stopped = client.chat("talker", ASK, options={**GREEDY, "stop": [text[8:12]]})
    assert stopped.message.content == text[: text.index(text[8:12])]


def test_a_format_holds_the_answer_to_its_schema(client: Any) -> None:
    options = {"temperature": 1.5, "seed": 3}
    painted = client.chat("tiny-random", ASK, format=Paint.model_json_schema(), options=options)
    Paint.model_validate_json(painted.message.content)
    parts = client.generate("tiny-random", "x", format=Paint.model_json_schema(), options=options, stream=True)
    Paint.model_validate_json("".join(part.response for part in parts))


def test_tools_are_called_as_structure_and_their_results_taken_back(client: Any) -> None:
    ask = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat("talker", ask, tools=[WEATHER_TOOL], options=GREEDY)
    (call,) = answer.message.tool_calls
    assert (call.function.name, dict(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    streamed = [part.message for part in client.chat("talker", ask, tools=[WEATHER_TOOL], options=GREEDY, stream=True)]
    assert [call for message in streamed for call in message.tool_calls or ()] == [call]
    turns = [*ask, answer.message, {"role": "tool", "tool_name": "get_weather", "content": "Sunny."}]
    assert client.chat("talker", turns, tools=[WEATHER_TOOL], options=GREEDY).message.content


def test_log_probabilities_are_those_of_the_text(client: Any) -> None:
    answer = client.chat("talker", ASK, logprobs=True, top_logprobs=2, options={**GREEDY, "num_predict": 6})
    assert "".join(token.token for token in answer.logprobs) == answer.message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in answer.logprobs)


def test_auto_is_a_model_and_says_which_it_was(client: Any) -> None:
    known = {"talker:0", "tiny-random:0"}
    for name in ("auto", "auto:code", "auto:latest"):
        assert client.chat(name, ASK, options={"num_predict": 2}).model in known


def test_texts_become_vectors(client: Any) -> None:
    made = client.embed("encoder", ["one", "two words"])
    assert made.model == "encoder:0"
    assert [len(vector) for vector in made.embeddings] == [64, 64]
    assert made.prompt_eval_count == len("one") + len("two words") + 4
    assert math.isclose(math.hypot(*made.embeddings[0]), 1, abs_tol=1e-5)
    older = client.embeddings("encoder:latest", "one")
    assert older.embedding == pytest.approx(made.embeddings[0], abs=1e-5)
    assert len(client.embed("encoder", "one", dimensions=8).embeddings[0]) == 8


def test_a_text_that_is_too_long_for_a_vector_is_cut_unless_that_is_not_wanted(client: Any) -> None:
    long = "x" * 5000
    made = client.embed("encoder", long)
    beginning = client.embed("encoder", "x" * (made.prompt_eval_count - 2))  # two tokens stand around every text
    assert beginning.prompt_eval_count == made.prompt_eval_count < len(long)
    assert beginning.embeddings[0] == pytest.approx(made.embeddings[0], abs=1e-5)
    with pytest.raises(ollama.ResponseError, match="at most") as refused:
        client.embed("encoder", long, truncate=False)
    assert refused.value.status_code == 400


# -- what is here


def test_what_is_here_is_listed_and_described(client: Any, served: Served) -> None:
    models = {model.model: model for model in client.list().models}
    assert {"talker:0", "tiny-random:0", "encoder:0"} <= set(models)
    assert models["talker:0"].details.format == "onnx"
    assert models["talker:0"].size > 100_000
    assert len(models["talker:0"].digest) == 64
    shown = client.show("talker:latest")
    assert shown.capabilities == ["completion", "tools"]
    kind = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{kind}.context_length"] == 1024
    assert client.show("encoder").capabilities == ["embedding"]
    assert set(served.get("/api/version")) == {"version", "slmreg"}
    assert httpx.head(f"{served.url}/api/tags").status_code == 200


def test_an_empty_prompt_loads_a_model_and_keep_alive_0_unloads_it(client: Any, served: Served) -> None:
    client.generate("tiny-random", keep_alive=0)
    assert "tiny-random:0" not in loaded(served)
    answer = client.generate("tiny-random", keep_alive="1h")
    assert (answer.response, answer.done_reason) == ("", "load")
    (running,) = [model for model in client.ps().models if model.model == "tiny-random:0"]
    assert (running.context_length, running.size_vram) == (1024, 0)
    assert running.size > 0
    answer = client.chat("tiny-random", [], keep_alive=0)
    assert (answer.message.content, answer.done_reason) == ("", "unload")
    assert "tiny-random:0" not in loaded(served)


# -- presets


def test_a_preset_is_a_model_for_every_client_until_it_is_deleted(client: Any, served: Served) -> None:
    made = client.create("terse", from_="talker", system="Be short.", parameters={"num_predict": 3, "temperature": 0})
    assert made.status == "success"
    assert client.copy("terse", "also-terse:v1").status == "success"
    for name in ("terse", "terse:latest", "TERSE", "also-terse:v1"):
        answer = client.chat(name, ASK)
        assert (answer.eval_count, answer.model) == (3, "talker:0")
    assert client.chat("terse", ASK, options={"num_predict": 4}).eval_count == 4
    assert client.chat("terse", ASK, options={"num_predict": -1}).eval_count > 4
    by_openai = served.openai.chat.completions.create(model="terse", messages=ASK)
    assert by_openai.usage.completion_tokens == 3
    own = [{"role": "system", "content": "Be short."}, *ASK]
    with_system = client.chat("talker", own, options=GREEDY).prompt_eval_count
    assert client.chat("terse", ASK).prompt_eval_count == client.chat("terse", own).prompt_eval_count == with_system
    assert client.chat("talker", ASK, options=GREEDY).prompt_eval_count < with_system

    assert {"terse:latest", "also-terse:v1"} <= {model.model for model in client.list().models}
    assert "terse" in {model.id for model in served.openai.models.list()}
    assert served.openai.models.retrieve("terse").owned_by == "slmreg-preset"
    shown = client.show("terse")
    assert shown.modelfile == 'FROM talker\nSYSTEM "Be short."\nPARAMETER num_predict 3\nPARAMETER temperature 0\n'
    assert shown.details.parent_model == "talker"

    for name in ("terse", "also-terse:v1"):
        assert client.delete(name).status == "success"
    with pytest.raises(ollama.ResponseError, match="terse"):
        client.chat("terse", ASK)


def test_a_preset_is_made_step_by_step_for_who_listens(client: Any) -> None:
    steps = list(client.create("step", from_="auto:code", stream=True))
    assert [step.status for step in steps] == ["success"]
    assert client.chat("step", ASK, options={"num_predict": 2}).eval_count == 2
    client.delete("step")


def test_a_preset_of_the_command_line_is_there_for_a_client_at_once(
    client: Any, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command goes through the daemon that runs."""
    monkeypatch.setenv("SLMREG_HOME", str(served.home.path))

    def preset(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(main, ("preset", *arguments, "--json"))
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if code == 0 else done.output

    preset("create", "team/shell:v1", "--from", "talker", "-p", "num_predict=2")
    assert client.generate("team/shell:v1", QUESTION).eval_count == 2
    assert preset("show", "team/shell:v1")["means"] == "talker:0"
    assert [each["name"] for each in preset("list")] == ["team/shell:v1"]
    assert preset("remove", "team/shell:v1") == {"removed": "team/shell:v1"}
    assert "no preset" in preset("remove", "team/shell:v1", code=1)


@pytest.mark.parametrize(
    ("call", "status", "reason"),
    [
        (lambda client: client.chat("talkre", ASK), 404, "talker"),
        (lambda client: client.chat("talkre", ASK, stream=True), 404, "talker"),
        (lambda client: client.chat("encoder", ASK), 409, "cannot answer a chat"),
        (lambda client: client.embed("talker", "x"), 409, "cannot make embeddings"),
        (lambda client: client.chat("talker", ASK, options={"mirostat": 2}), 400, "mirostat"),
        (lambda client: client.chat("talker", ASK, options={"num_ctx": 4096}), 400, "num_ctx"),
        (lambda client: client.chat("talker", ASK, think=True), 400, "think"),
        (lambda client: client.chat("tiny-random", [{"role": "user", "content": "x " * 3000}]), 400, "1024"),
        (lambda client: client.generate("talker", "x", suffix="y"), 400, "suffix"),
        (lambda client: client.pull("llama3"), 501, "on the disk"),
        (lambda client: client.push("llama3"), 501, "on the disk"),
        (lambda client: client.delete("talker"), 400, "never deletes"),
        (lambda client: client.delete("nobody"), 404, "nobody"),
        (lambda client: client.create("talker", from_="tiny-random"), 400, "already a model"),
        (lambda client: client.create("x", from_="nobody"), 404, "nobody"),
        (lambda client: client.create("x", from_="talker", template="{{ .Prompt }}"), 400, "template"),
        (lambda client: client.copy("nobody", "x"), 404, "nobody"),
        (lambda client: client.show("nobody"), 404, "nobody"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_why(client: Any, call: Any, status: int, reason: str) -> None:
    with pytest.raises(ollama.ResponseError, match=reason) as refused:
        list(call(client))
    assert refused.value.status_code == status


def test_a_body_of_no_declared_kind_is_told_what_to_declare(served: Served) -> None:
    """As curl -d sends it."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = httpx.post(f"{served.url}/api/chat", content=json.dumps({"model": "talker"}), headers=headers)
    assert (response.status_code, set(response.json())) == (415, {"error", "code"})
    assert "application/json" in response.json()["error"]
