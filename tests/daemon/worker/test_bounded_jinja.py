from __future__ import annotations

import contextlib
import time
import tracemalloc
from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from daemon.worker.bounded_jinja import BoundedEnvironment, TemplateBoundExceeded


def render(source: str, **variables: Any) -> str:
    environment = BoundedEnvironment(max_render_s=0.2, max_chars=100_000)
    return environment.render(environment.from_string(source), variables)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for x in xs %}{{ x }}{{ ',' if not loop.last }}{% endfor %}", "1,2,3"),
        ("{% for x in xs %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/3 2/3 3/3 "),
        ("{% for x in xs %}{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }};{% endfor %}", "<1<2;1<2<3;2<3<;"),
        ("{% for x in xs if x > 1 %}{{ x }}{% else %}none{% endfor %}", "23"),
        ("{% for x in missing %}{{ x }}{% else %}none{% endfor %}", "none"),
        ("{% for x in xs %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "1"),
        ("{% for x in xs %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "13"),
        ("{% for k, v in d.items() %}{{ k ~ '=' ~ v ~ missing }};{% endfor %}", "a=1;"),
        ("{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}", "6"),
        ("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(1) + f('b' * 2) }}", "[1][bb]"),
        ("{{ xs | join(', ') }} {{ 'a-b'.split('-') | join }} {{ 'aXa' | replace('a', 'b') }}", "1, 2, 3 ab bXb"),
        ("{{ ', '.join(['a', 'b']) }} {{ 'aa'.replace('a', 'b') }}", "a, b bb"),
        ("{{ 'In 2023: {} {:>3}'.format(1, 'x') }} {{ 'In 2023: %s' % 1 }}", "In 2023: 1   x In 2023: 1"),
        ("{{ 'a\nb' | indent(2) }}{{ 'x'.ljust(3) }}|", "a\n  bx  |"),
        ("{% generation %}kept{% endgeneration %}", "kept"),
        ("  {% if true %}\nline\n  {% endif %}\nend", "line\nend"),
        ("{% for x in [[1], [2]] recursive %}({{ loop(x) if x is sequence else x }}){% endfor %}", "((1))((2))"),
    ],
)  # fmt: skip
def test_templates_mean_what_they_mean_in_plain_jinja(source: str, expected: str) -> None:
    assert render(source, xs=[1, 2, 3], d={"a": 1}) == expected


def test_json_is_written_without_html_escapes_and_in_order() -> None:
    assert render("{{ x | tojson }}", x={"b": "<é>", "a": [1, None]}) == '{"b": "<é>", "a": [1, null]}'
    assert render("{{ x | tojson(indent=2) }}", x={"a": 1}) == '{\n  "a": 1\n}'


def test_todays_date_is_there_for_templates_that_tell_it() -> None:
    assert render("{{ strftime_now('%Y') }}") == time.strftime("%Y")


def test_a_template_can_refuse_with_its_own_message() -> None:
    with pytest.raises(TemplateError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__ }}", "{{ xs.append(1) }}", "{{ d.update(a=2) }}", "{{ render.__globals__ }}"],
)
def test_the_sandbox_is_closed(source: str) -> None:
    data: dict[str, Any] = {"xs": [1], "d": {"a": 1}}
    with contextlib.suppress(SecurityError):
        assert render(source, render=render, **data) == ""
    assert data == {"xs": [1], "d": {"a": 1}}


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in xs %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_time_is_bounded(source: str) -> None:
    with pytest.raises(TemplateBoundExceeded, match="within"):
        render(source, xs=[1])


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10 ** 9 }}",
        "{{ 1000000000 * 'x' }}",
        "{{ [0] * 1000000000 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{% set ns = namespace(n=9) %}{% for i in range(90) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(90) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(90) %}{% set ns.s = [ns.s, ns.s] | join %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(90) %}{% set ns.s = ns.s.join('xxx') %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(9) %}{% set ns.s = ns.s | replace('x', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(90) %}{% set ns.s = ns.s.replace('x', ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(90) %}{% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}",
        "{% for i in range(99999) %}0123456789{% endfor %}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 1000000000) }}",
        "{{ '%01000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%(a)1000000000d' % {'a': 1} }}",
        "{{ 'x\n' | indent(1000000000) }}",
        "{{ {'a': 1} | tojson(indent=1000000000) }}",
    ],
)  # fmt: skip
def test_size_is_bounded_before_the_memory_is_taken(source: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TemplateBoundExceeded):
            render(source)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["center(9)", "wordwrap(1)", "batch(9, 'x')", "slice(9)", "sum(start=[])"])
def test_filters_that_only_blow_text_up_are_gone(name: str) -> None:
    with pytest.raises(TemplateError, match="No filter named"):
        render(f"{{{{ xs | {name} }}}}", xs=[])


def test_each_rendering_has_its_own_time() -> None:
    environment = BoundedEnvironment(max_render_s=0.05)
    slow = environment.from_string("{% for a in range(99999) %}{% for b in range(999) %}{% endfor %}{% endfor %}")
    with pytest.raises(TemplateBoundExceeded):
        environment.render(slow, {})
    assert environment.render(environment.from_string("{% for a in [1] %}{{ a }}{% endfor %}"), {}) == "1"
