"""The choice at the doors of a real daemon: which task, which model, why, and who decides."""

from __future__ import annotations

import json
import math
import shutil
from typing import Any

import httpx
import pytest

from scripts.model_factory import write_preset
from tests.e2e.conftest import Home, Served, put, wait_for
from tests.e2e.test_cli import as_json, slmreg
from tests.e2e.test_lifecycle import ids

CODE_QUESTION = (
    "Write a Python function that parses this CSV file and fix the TypeError in it:\n```python\ndef f(x): pass\n```"
)
SMALL_TALK = "Hello, how are you today?"


def ask(served: Served, text: str, *, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    whole = {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 2, **body}
    return httpx.post(f"{served.url}/v1/chat/completions", json=whole, headers=headers, timeout=60)


def error_of(response: httpx.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


def send(served: Served, path: str, text: str) -> httpx.Response:
    """A body as it is: what httpx itself would refuse to write."""
    headers = {"content-type": "application/json"}
    return httpx.post(f"{served.url}{path}", content=text, headers=headers, timeout=60)


@pytest.fixture
def served(home: Home, tiny: Any) -> Served:
    put(tiny, home.models / "one")
    put(tiny, home.models / "two")
    return home.start()


def test_the_words_of_a_conversation_tell_its_task(served: Served) -> None:
    assert ask(served, CODE_QUESTION).headers["x-slmreg-task"] == "code"
    assert ask(served, SMALL_TALK).headers["x-slmreg-task"] == "chat"
    tool = {"type": "function", "function": {"name": "f"}}
    assert ask(served, SMALL_TALK, tools=[tool]).headers["x-slmreg-task"] == "tools"
    assert ask(served, SMALL_TALK, tools=[tool], tool_choice="none").headers["x-slmreg-task"] == "chat"


def test_whoever_names_the_task_is_believed_and_the_model_before_the_header_before_the_body(served: Served) -> None:
    header = {"x-slmreg-task": "Math"}
    assert ask(served, CODE_QUESTION, task="reasoning").headers["x-slmreg-task"] == "reasoning"
    assert ask(served, CODE_QUESTION, task="reasoning", headers=header).headers["x-slmreg-task"] == "math"
    named = ask(served, SMALL_TALK, model="auto:code", task="reasoning", headers=header)
    assert named.headers["x-slmreg-task"] == "code"
    unknown = ask(served, SMALL_TALK, headers={"x-slmreg-task": "cooking"})
    assert error_of(unknown) == (400, "unknown_task", "task")
    assert "transcription" in unknown.json()["error"]["message"]
    assert error_of(ask(served, SMALL_TALK, task="cooking"))[1] == "unknown_task"
    assert error_of(ask(served, SMALL_TALK, headers={"x-slmreg-policy": "cheap"})) == (400, "invalid_request", "policy")
    assert error_of(ask(served, SMALL_TALK, policy="cheap"))[0] == 400


def test_a_choice_can_be_looked_up_afterwards_with_a_ledger_that_adds_up(served: Served) -> None:
    answer = ask(served, CODE_QUESTION, headers={"x-slmreg-policy": "fast"})
    decision_id = answer.headers["x-slmreg-selection"]
    decision = served.get(f"/slmreg/selections/{decision_id}")
    assert (decision["id"], decision["task"], decision["policy"]) == (decision_id, "code", "fast")
    assert decision["chosen"] == answer.headers["x-slmreg-model"] == answer.json()["model"]
    assert {each["id"] for each in decision["ranking"]} == {"one:0", "two:0"}
    for candidate in decision["ranking"]:
        assert math.isclose(sum(candidate["terms"].values()), candidate["utility"], abs_tol=0.011)
    assert {each["id"]: each["code"] for each in decision["rejected"]} == {"slmreg-demo:1": "demo_model"}
    assert decision["task_because"]
    assert "CSV" not in json.dumps(decision)  # no word of a prompt but those that the classifier knows


def test_only_choices_of_slmreg_are_kept_and_only_so_many(home: Home, tiny: Any) -> None:
    put(tiny, home.models / "one")
    served = home.start(max_selections=2)
    by_name = ask(served, SMALL_TALK, model="one", task="code")
    assert by_name.headers["x-slmreg-model"] == "one:0"
    assert "x-slmreg-selection" not in by_name.headers
    made = [ask(served, SMALL_TALK).headers["x-slmreg-selection"] for _ in range(3)]
    served.post("/slmreg/select", {"task": "chat"})
    kept = served.get("/slmreg/selections")["data"]
    assert [each["id"] for each in kept] == [made[2], made[1]]
    assert all("ranking" not in each for each in kept)
    assert [each["id"] for each in served.get("/slmreg/selections?limit=1")["data"]] == [made[2]]
    for gone in (made[0], "sel_0000"):
        missing = httpx.get(f"{served.url}/slmreg/selections/{gone}", timeout=30)
        assert error_of(missing)[:2] == (404, "selection_not_found")


def test_a_streamed_answer_tells_of_its_choice_too(served: Served) -> None:
    streamed = ask(served, SMALL_TALK, stream=True)
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert served.get(f"/slmreg/selections/{streamed.headers['x-slmreg-selection']}")["task"] == "chat"


def test_a_pin_whose_folder_is_gone_is_an_error_or_a_choice_that_says_so(served: Served, home: Home) -> None:
    pinned = served.post("/slmreg/pins", {"task": "chat", "model": "two"}).json()
    assert (pinned["model"], pinned["fallback"], pinned["problem"]) == ("two:0", "error", None)
    answer = ask(served, SMALL_TALK)
    assert answer.json()["model"] == "two:0"
    assert served.get(f"/slmreg/selections/{answer.headers['x-slmreg-selection']}")["pinned"] is True

    (home.models / "two").rename(home.path / "away")
    wait_for(lambda: "two:0" not in ids(served), "the model to go missing")
    assert error_of(ask(served, SMALL_TALK))[:2] == (409, "pinned_model_not_usable")
    (told,) = served.get("/slmreg/pins")["data"]
    assert "two:0" in told["problem"]

    served.post("/slmreg/pins", {"task": "chat", "model": "two", "fallback": "auto"})
    answer = ask(served, SMALL_TALK)
    assert answer.json()["model"] == "one:0"
    decision = served.get(f"/slmreg/selections/{answer.headers['x-slmreg-selection']}")
    assert (decision["fallback"], decision["pinned"]) == (True, False)
    assert "two:0" in decision["reason"]

    (home.path / "away").rename(home.models / "two")
    wait_for(lambda: "two:0" in ids(served), "the model to come back")
    assert ask(served, SMALL_TALK).json()["model"] == "two:0"


def test_a_pattern_follows_a_newer_version_that_is_copied_in(home: Home) -> None:
    write_preset("tiny", home.models / "first", name="fam-generic-cpu:1")
    write_preset("tiny", home.models / "other", name="other-generic-cpu:9")
    served = home.start()
    pinned = served.post("/slmreg/pins", {"task": "chat", "model": "fam*"}).json()
    assert (pinned["model"], pinned["pattern"], pinned["waiting"]) == ("fam-generic-cpu:1", "fam*", False)
    assert ask(served, SMALL_TALK).json()["model"] == "fam-generic-cpu:1"
    fresh = write_preset("tiny", home.path / "fresh", name="fam-generic-cpu:2")
    shutil.copytree(fresh, home.models / "second")
    wait_for(lambda: "fam-generic-cpu:2" in ids(served), "the newer version")
    assert ask(served, SMALL_TALK).json()["model"] == "fam-generic-cpu:2"


def test_what_should_not_fit_is_loaded_by_force_and_with_a_warning(home: Home, tiny: Any) -> None:
    put(tiny, home.models / "tiny")
    home.start(memory_budget_bytes=50_000_000)
    refused = slmreg(home, "load", "tiny")
    assert (refused.returncode, "available" in refused.stderr) == (1, True)
    forced = slmreg(home, "load", "tiny", "--force")
    assert (forced.returncode, "Warning" in forced.stderr) == (0, True), forced.stderr
    (session,) = as_json(home, "ps")
    assert (session["id"], session["state"]) == ("tiny:0", "ready")


def test_a_load_that_fits_has_no_warning_even_by_force(served: Served) -> None:
    assert served.post("/slmreg/load", {"model": "one", "force": True}).json()["warning"] is None


def test_a_rating_changes_the_ledger_until_it_is_forgotten(served: Served) -> None:
    def evaluated() -> dict[str, float]:
        ranking = served.post("/slmreg/select", {"task": "code"}).json()["ranking"]
        return {each["id"]: each["terms"].get("evaluated", 0.0) for each in ranking}

    assert evaluated() == {"one:0": 0.0, "two:0": 0.0}
    said = served.post("/slmreg/evaluations", {"model": "two", "task": "code", "rating": 5, "notes": "fine"}).json()
    assert (said["model"], said["task"], said["rating"], said["notes"]) == ("two:0", "code", 5, "fine")
    assert evaluated()["two:0"] > 0 == evaluated()["one:0"]
    assert served.post("/slmreg/select", {"task": "code"}).json()["chosen"] == "two:0"
    served.post("/slmreg/evaluations", {"model": "one", "task": "code", "passed": 45, "of": 50})
    assert evaluated()["one:0"] > evaluated()["two:0"]  # fifty items say more than one rating
    assert {each["model"] for each in served.get("/slmreg/evaluations")["data"]} == {"one:0", "two:0"}
    gone = httpx.delete(f"{served.url}/slmreg/evaluations/two?task=code", timeout=30).json()
    assert (gone["model"], gone["forgotten"]) == ("two:0", 1)
    assert evaluated()["two:0"] == 0.0


@pytest.mark.parametrize(
    ("path", "rest", "field"),
    [
        ("select", '"deadline_s": -1', "deadline_s"),
        ("select", '"context_tokens": 0', "context_tokens"),
        ("select", '"max_memory_bytes": -1', "max_memory_bytes"),
        ("select", f'"allow": {json.dumps(["x"] * 101)}', "allow"),
        ("select", f'"deny": {json.dumps(["x" * 600])}', "deny.0"),
        ("select", '"limit": -1', "limit"),
        ("select", '"language": "german"', "language"),
        ("select", '"policy": "cheap"', "policy"),
        ("pins", '"model": "one", "fallback": "maybe"', "fallback"),
        ("evaluations", '"model": "one", "rating": 6', "rating"),
        ("evaluations", '"model": "one", "passed": 3, "of": 2', "passed"),
        ("evaluations", '"model": "one", "passed": -1, "of": 2', "passed"),
    ],
)
def test_a_number_or_list_that_makes_no_sense_is_a_400_that_names_it(
    idle: Served, path: str, rest: str, field: str
) -> None:
    status, _code, param = error_of(send(idle, f"/slmreg/{path}", f'{{"task": "chat", {rest}}}'))
    assert (status, param) == (400, field)


@pytest.mark.parametrize("rest", ['"deadline_s": NaN', '"deadline_s": Infinity', '"max_memory_bytes": 1e400'])
def test_a_number_that_json_does_not_have_is_a_400(idle: Served, rest: str) -> None:
    status, code, _param = error_of(send(idle, "/slmreg/select", f'{{"task": "chat", {rest}}}'))
    assert (status, code) == (400, "invalid_json")


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Any:
    """One daemon for tests that change nothing."""
    from contextlib import ExitStack

    from registry.store import Registry

    root = tmp_path_factory.mktemp("idle")
    put(tiny, root / "models" / "one")
    put(tiny, root / "models" / "two")
    with Registry.open(root / "home" / "registry.db") as registry:
        registry.add_root(root / "models")
    with ExitStack() as stack:
        yield Home(root / "home", root / "models", stack).start()


def test_constraints_turn_models_away_with_their_names(idle: Served) -> None:
    def codes(**wishes: Any) -> dict[str, str]:
        selection = idle.post("/slmreg/select", {"task": "chat", **wishes}).json()
        return {each["id"]: each["code"] for each in selection["rejected"] if each["id"] != "slmreg-demo:1"}

    assert codes() == {}
    assert codes(deny=["ON*"]) == {"one:0": "denied"}
    assert codes(allow=["one"]) == {"two:0": "not_allowed"}
    assert set(codes(vision=True).values()) == {"vision"}
    assert set(codes(context_tokens=5000).values()) == {"context"}
    assert set(codes(max_memory_bytes=1000).values()) == {"memory"}
    assert set(codes(deadline_s=0.000001).values()) == {"deadline"}
    assert set(codes(thinking=True).values()) == {"thinking"}
    assert codes(tools=True, json=True, policy="quality") == {}


def test_of_a_ledger_only_as_much_is_sent_as_was_asked_for(idle: Served) -> None:
    whole, one, none = (idle.post("/slmreg/select", {"task": "chat", "limit": n}).json() for n in (None, 1, 0))
    assert (len(whole["ranking"]), len(one["ranking"]), none["ranking"], none["rejected"]) == (2, 1, [], [])
    assert whole["chosen"] == one["chosen"] == none["chosen"]
    # Free memory may be another from one request to the next.
    (first,) = one["ranking"]
    assert (first["id"], first["terms"]) == (whole["ranking"][0]["id"], whole["ranking"][0]["terms"])


def test_reasoning_effort_is_honoured_or_refused_by_name(idle: Served) -> None:
    for effort in ("none", "minimal"):
        assert ask(idle, SMALL_TALK, model="one", reasoning_effort=effort).status_code == 200
    refused = ask(idle, SMALL_TALK, model="one", reasoning_effort="high")
    assert error_of(refused) == (400, "unsupported_parameter", "reasoning_effort")
    assert error_of(ask(idle, SMALL_TALK, reasoning_effort="very"))[0] == 400
    switch = "chat_template_kwargs.enable_thinking"
    assert ask(idle, SMALL_TALK, model="one", chat_template_kwargs={"enable_thinking": False}).status_code == 200
    refused = ask(idle, SMALL_TALK, model="one", chat_template_kwargs={"enable_thinking": True})
    assert error_of(refused) == (400, "unsupported_parameter", switch)
    assert f"Leave '{switch}' out" in refused.json()["error"]["message"]


def test_a_long_prompt_is_for_the_model_to_count_and_no_estimate_refuses_it(idle: Served) -> None:
    """Both models take 2,048 tokens, and one of their tokens is about one character here."""
    assert error_of(ask(idle, "word " * 6000))[:2] == (400, "context_length_exceeded")


def test_what_was_measured_stands_beside_what_was_predicted(served: Served, home: Home) -> None:
    before = as_json(home, "show", "one")
    assert before["measured"] == {}
    for _ in range(2):
        assert ask(served, "hello " * 20, model="one", max_tokens=20).status_code == 200
    wait_for(lambda: served.get("/slmreg/models/one")["measured"].get("answers"), "an answer to be learnt from")
    (listed,) = [each for each in served.get("/slmreg/models")["data"] if each["id"] == "one:0"]
    measured = listed["measured"]
    assert measured["tokens_per_second"] > 0
    assert measured["resident_bytes"] > 1_000_000
    told = as_json(home, "show", "one")
    assert told["measured"].keys() == measured.keys()
    assert told["predicted"]["tokens_per_second"] > 0
    shown = slmreg(home, "show", "one").stdout
    assert "OFF BY" in shown
    assert "measured in 1 load and" in shown
