"""What is written, read with the client's own parsers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from daemon.metrics import families
from daemon.metrics.book import Metrics, Reading
from daemon.metrics.exposition import Exposition
from daemon.metrics.families import FAMILIES, MAX_MODELS, Kind
from daemon.metrics.gauges import Gauges
from daemon.metrics.tallies import Sample, Spread
from registry.model import Status
from tests.fakes import a_model

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
DOC = Path(__file__).parents[3] / "docs" / "metrics.md"
# Labels whose values are in the code: enums, routes, kinds of events, and models, of which there are so many at most.
BOUNDED = {"route", "method", "status", "model", "reason", "kind", "state", "task", "outlet"}
UNITS = ("_seconds", "_bytes", "_total", "_info")
# Of things that are there now, the name alone says what is counted.
COUNTED_NOW = ("_requests_in_flight", "_waiting", "_running", "_sessions", "_models", "_problems", "_followers")


def one_of_each() -> Iterator[Reading]:
    for family in FAMILIES:
        value = Spread((1,) * (len(family.buckets) + 1), 7.0) if family.kind is Kind.HISTOGRAM else 3
        yield family, iter((Sample(tuple(f'{label}"\\\n' for label in family.labels), value),))


@pytest.mark.parametrize(
    ("accept", "parse"), [("", text_string_to_metric_families), (OPENMETRICS, openmetrics_families)]
)
def test_every_metric_can_be_read_back(accept: str, parse: Any) -> None:
    text, content_type = Exposition(one_of_each).render(accept)
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain")
    read = {metric.name: metric for metric in parse(text.decode()) if metric.name.startswith("slmreg_")}
    assert len(read) == len(FAMILIES)
    for family in FAMILIES:
        metric = read[family.name.removesuffix("_total")]
        assert (metric.documentation, metric.type) == (family.help, family.kind)
        last = metric.samples[-1]
        labels = {name: value for name, value in last.labels.items() if name != "le"}
        assert labels == {name: f'{name}"\\\n' for name in family.labels}
        if family.kind is Kind.HISTOGRAM:
            buckets = [sample for sample in metric.samples if sample.name.endswith("_bucket")]
            assert [float(sample.labels["le"]) for sample in buckets] == [*family.buckets, float("inf")]
            assert [sample.value for sample in buckets] == list(range(1, len(family.buckets) + 2))
        else:
            assert last.value == 3


def test_the_older_format_is_for_who_asks_for_nothing_else() -> None:
    exposition = Exposition(one_of_each)
    for accept in ("", "*/*", "text/html", "application/json", "garbage;;;=,", "text/plain; version=0.0.4"):
        assert exposition.render(accept)[1].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_units_and_labels_are_as_prometheus_has_them(family: families.Family) -> None:
    assert re.fullmatch(r"slmreg_[a-z_]+", family.name)
    assert family.help.endswith(".")
    assert family.name.endswith(UNITS) or (family.kind is Kind.GAUGE and family.name.endswith(COUNTED_NOW))
    assert family.name.endswith("_total") is (family.kind is Kind.COUNTER)
    assert bool(family.buckets) is (family.kind is Kind.HISTOGRAM)
    assert list(family.buckets) == sorted(set(family.buckets))
    if family is not families.BUILD:
        assert set(family.labels) <= BOUNDED


def test_no_two_metrics_have_one_name() -> None:
    names = [family.name.removesuffix("_total") for family in FAMILIES]
    assert len(set(names)) == len(names) > 20


def test_the_process_is_there_and_nothing_that_others_count() -> None:
    import prometheus_client

    prometheus_client.Counter("somebody_elses", "x").inc()
    text, _ = Exposition(one_of_each).render()
    assert b"somebody_elses" not in text
    assert b"python_gc" not in text


def gauges(metrics: Metrics) -> Gauges:
    return Gauges(
        metrics=metrics,
        sessions=tuple,
        models=lambda: (a_model("a"), a_model("b", status=Status.MISSING)),
        problems=lambda: 2,
        events=lambda: {"model.added": 3},
        followers=lambda: 1,
        log_drops=lambda: {"file": 4},
    )


def test_what_is_there_now_is_read_when_somebody_asks() -> None:
    text, _ = Exposition(gauges(Metrics()).read).render()
    lines = text.decode().splitlines()
    for line in (
        'slmreg_models{status="ready"} 1.0',
        'slmreg_models{status="missing"} 1.0',
        'slmreg_models{status="invalid"} 0.0',
        'slmreg_sessions{state="ready"} 0.0',
        "slmreg_folder_problems 2.0",
        'slmreg_events_total{kind="model.added"} 3.0',
        "slmreg_event_followers 1.0",
        'slmreg_log_lines_dropped_total{outlet="file"} 4.0',
    ):
        assert line in lines
    assert any(line.startswith("slmreg_build_info{") and line.endswith(" 1.0") for line in lines)


def test_everything_that_is_declared_is_written_and_nothing_else() -> None:
    read = [family for family, _samples in gauges(Metrics()).read()]
    assert sorted(family.name for family in read) == sorted(family.name for family in FAMILIES)


def test_the_document_has_every_metric_as_it_is() -> None:
    text = DOC.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `slmreg_")]
    expected = [
        f"| `{family.name}` | {family.kind} | {', '.join(family.labels) or '-'} | {family.help} |"
        for family in FAMILIES
    ]
    assert rows == expected
    assert f"{MAX_MODELS} models" in text
