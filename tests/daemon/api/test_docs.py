"""The page that shows the routes, and the document that it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi import FastAPI

from daemon.api.docs import POLICY
from daemon.api.spec.document import PARTS, ROUTES
from tests.daemon.api.guarded import HOST, call, guarded

PAGES = {"/docs": "text/html", "/docs/docs.css": "text/css", "/docs/docs.js": "text/javascript"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    with guarded(tmp_path_factory.mktemp("docs")) as app:
        yield app


@pytest.fixture(scope="module")
def spec(app: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = call(app, "GET", "/openapi.json", HOST).json()
    return found


def operations(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


class Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [value for name in ("src", "href") if (value := given.get(name)) is not None]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]


def test_the_page_comes_from_this_server_and_from_nowhere_else(app: FastAPI) -> None:
    texts = {}
    for path, kind in PAGES.items():
        response = call(app, "GET", path, HOST)
        assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, kind)
        assert response.headers["content-security-policy"] == POLICY
        texts[path] = response.text
    links = Links(texts["/docs"])
    assert set(links.found) == set(PAGES) - {"/docs"}
    assert links.inline == []
    for text in texts.values():
        assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]|@import|url\(|innerHTML|eval\(", text)


def test_the_policy_lets_the_page_ask_this_server_and_nobody_else() -> None:
    assert "default-src 'none'" in POLICY
    assert set(re.findall(r"'[^']*'|https?:\S*|\*", POLICY)) == {"'none'", "'self'"}


def test_every_route_is_described_and_nothing_else_is(spec: dict[str, Any]) -> None:
    assert {name for name, _ in operations(spec)} == set(ROUTES)
    assert len(ROUTES) == sum(len(part.routes) for part in PARTS)


def test_every_route_says_what_it_is_for_and_what_it_answers(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        assert operation.get("description"), name
        assert "422" not in operation["responses"], name
        assert {"200", "400", "401", "403", "429", "500"} <= operation["responses"].keys(), name
        body = operation.get("requestBody", {}).get("content", {})
        assert all("example" in each for kind, each in body.items() if kind == "application/json"), name


def test_what_describes_the_routes_is_not_in_memory_before_somebody_asks() -> None:
    code = "import sys, daemon.app; print(any(name.startswith('daemon.api.spec') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_errors_are_in_the_form_of_their_api(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        path = name.split()[1]
        start = next((each for each in ("/v1/messages", "/api/") if path.startswith(each)), "")
        form = {"/v1/messages": "AnthropicError", "/api/": "OllamaError", "": "OpenAIError"}[start]
        errors = [each for status, each in operation["responses"].items() if status >= "400"]
        used = {each["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2] for each in errors}
        assert used == {form}, name


def test_every_schema_that_is_named_is_there_once(spec: dict[str, Any]) -> None:
    named = set(re.findall(r"#/components/schemas/([\w.-]+)", str(spec)))
    assert named <= set(spec["components"]["schemas"])
    assert not {"HTTPValidationError", "ValidationError"} & set(spec["components"]["schemas"])
    ours = [name for part in PARTS for name in part.schemas]
    assert len(ours) == len(set(ours))
    assert not [name for name in spec["components"]["schemas"] if "__" in name]  # two of one name
