"""The page that shows the routes, and the document that it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from daemon.api.docs import POLICY
from daemon.api.spec.document import PARTS, ROUTES
from tests.daemon.api.guarded import HOST, USE_KEY, call, guarded

FILES = Path(__file__).parents[3] / "daemon" / "api" / "pages"
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


def test_the_page_needs_no_key_and_is_the_packages_own_whoever_asks(tmp_path: Path) -> None:
    with guarded(tmp_path, has_keys=True) as locked:
        for path in PAGES:
            response = call(locked, "GET", path, HOST)
            assert response.content == (FILES / ("docs.html" if path == "/docs" else Path(path).name)).read_bytes()
            assert response.headers["content-security-policy"] == POLICY
        assert call(locked, "GET", "/openapi.json", HOST).status_code == 401
        shown = {"authorization": f"Bearer {USE_KEY}"}
        assert call(locked, "GET", "/openapi.json", HOST | shown).status_code == 200


def test_the_page_keeps_a_key_in_its_own_memory_and_shows_it_to_this_server_only() -> None:
    script = (FILES / "docs.js").read_text(encoding="utf-8")
    assert not re.search(r"cookie|Storage|indexedDB|caches\b|history\.|location\b|postMessage|window\.name", script)
    assert script.count("fetch(") == 1  # whose request is not followed anywhere else
    assert 'mode: "same-origin", credentials: "omit", redirect: "error", cache: "no-store"' in script
    page = (FILES / "docs.html").read_text(encoding="utf-8")
    (field,) = re.findall(r"<input[^>]*id=\"key\"[^>]*>", page)
    assert 'type="password"' in field
    assert "name=" not in field  # a form that were sent would not have it


def test_the_front_says_what_answers_and_leads_a_browser_to_the_page(app: FastAPI) -> None:
    program = call(app, "GET", "/", HOST)
    assert (program.status_code, program.json()["name"], program.json()["docs"]) == (200, "slmreg", "/docs")
    assert call(app, "HEAD", "/", HOST).status_code == 200
    browser = call(app, "GET", "/", HOST | {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["location"]) == (307, "/docs")


def test_the_policy_lets_the_page_ask_this_server_and_nobody_else() -> None:
    assert "default-src 'none'" in POLICY
    assert "frame-ancestors 'none'" in POLICY
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
