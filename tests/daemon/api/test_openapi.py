"""Generated requests against the whole application: nothing breaks it, and it answers as its OpenAPI says.

A request is kept to what the document says a request is, and then to what it says is none. The same ones at every run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from daemon.api.spec.document import ROUTES
from tests.daemon.api.listening import listening

CONFORMANCE: list[Any] = [
    status_code_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
]
# What the document does not allow is not taken either.
CHECKS = {GenerationMode.POSITIVE: CONFORMANCE, GenerationMode.NEGATIVE: [*CONFORMANCE, negative_data_rejection]}
EXAMPLES = {GenerationMode.POSITIVE: 12, GenerationMode.NEGATIVE: 6}
PATIENCE_S = 30
# It never ends.
LEFT_OUT = "GET /slmreg/events"
# What a request may come to here that nothing is wrong with: no model sees or hears, nothing is pulled, and a deadline
# may be a microsecond.
NO_FAULT = frozenset({"no_model_for_task", "not_offered", "answer_timed_out"})
# Names of something that is there, in place of most of those that are made up.
KNOWN = st.sampled_from(["slmreg-demo", "slmreg-demo:1", "auto", "auto:code", "mario", None])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with listening(tmp_path_factory.mktemp("openapi")) as url:
        requests.post(f"{url}/slmreg/presets", json={"name": "mario", "from": "slmreg-demo"}, timeout=PATIENCE_S)
        yield url


@pytest.fixture(scope="module")
def operations(url: str) -> dict[str, Any]:
    found = [each.ok() for each in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations()]
    return {operation.label: operation for operation in found if operation.label != LEFT_OUT}


def wrong_with(case: Any, response: Any, mode: GenerationMode = GenerationMode.POSITIVE) -> str | None:
    """What the document does not allow, or a fault of the server."""
    if response.status_code >= 500 and not NO_FAULT & set(response.text.split('"')):
        return f"{response.status_code} {response.text[:300]}"
    try:
        case.validate_response(response, checks=CHECKS[mode])
    except FailureGroup as group:
        return "; ".join(str(each)[:300] for each in group.exceptions)
    return None


def with_known_names(case: Any, name: str | None) -> None:
    if name is None:
        return
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = name
    for parameter in ("reference", "name"):
        if parameter in (case.path_parameters or {}):
            case.path_parameters[parameter] = name


@pytest.mark.parametrize("mode", EXAMPLES, ids=lambda mode: mode.value)
def test_whatever_is_asked_the_answer_is_what_the_document_says(operations: dict[str, Any], mode: Any) -> None:
    wrong: dict[str, str] = {}
    statuses: Counter[int] = Counter()

    def ask(operation: Any) -> None:
        @settings(
            max_examples=EXAMPLES[mode],
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), name=KNOWN)
        def asked(case: Any, name: str | None) -> None:
            if mode is GenerationMode.POSITIVE:
                with_known_names(case, name)
            response = case.call(timeout=PATIENCE_S)
            statuses[response.status_code] += 1
            if (why := wrong_with(case, response, mode)) is not None:
                wrong[operation.label] = f"{why} for {case.path_parameters} {case.query} {case.body!r:.300}"

        asked()

    for operation in operations.values():
        # What is only a text in the path can be nothing else.
        if mode is GenerationMode.POSITIVE or operation.body or operation.query:
            ask(operation)
    assert wrong == {}
    assert statuses[400] > 50
    if mode is GenerationMode.POSITIVE:
        assert statuses[200] > 50


@pytest.mark.parametrize("is_stream", [False, True])
def test_every_example_of_a_request_is_one_that_is_answered(operations: dict[str, Any], is_stream: bool) -> None:
    told = {name: route for name, route in ROUTES.items() if route.asks and (route.stream or not is_stream)}
    assert len(told) > 6
    for name, route in told.items():
        body = json.loads(json.dumps(route.asks).replace("phi-4-mini", "slmreg-demo"))
        asked = {**body, "stream": True} if is_stream else body
        case = operations[name].Case(body=asked, media_type="application/json")
        response = case.call(timeout=PATIENCE_S)
        assert wrong_with(case, response) is None, name
        assert response.status_code == (503 if "embed" in name else 200), (name, response.text)
        if is_stream:
            assert response.headers["content-type"][0].startswith(str(route.stream)), name


def test_every_example_of_an_answer_is_one(operations: dict[str, Any]) -> None:
    """As far as the document itself says what an answer is."""
    for name, route in ROUTES.items():
        if route.example is None:
            continue
        case = operations[name].Case(path_parameters={"reference": "x"} if "{" in name else {})
        response = httpx.Response(200, json=route.example, request=httpx.Request("GET", "http://x"))
        response.elapsed = timedelta(0)
        case.validate_response(response, checks=[response_schema_conformance])
