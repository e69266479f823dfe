"""The dashboard: it asks for nothing that the server does not export, and Grafana can read it."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llamahttp.metrics import ServerMetrics

BOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "deploy" / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]

LABEL_SETS = {"llamahttp:http_requests_total": {"route", "method", "status"}}
"""Of families that have no sample yet when the server starts."""


def exported() -> dict[str, set[str]]:
    """The labels of each series, by its name."""
    labels: dict[str, set[str]] = {name: set(names) for name, names in LABEL_SETS.items()}
    metrics = ServerMetrics()
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def expressions() -> list[str]:
    return [target["expr"] for panel in SHOWN for target in panel["targets"]]


def test_every_series_in_an_expression_is_exported() -> None:
    names = {name for text in expressions() for name in re.findall(r"\b(?:llamahttp:|llamacpp:|process_)\w+", text)}
    assert len(names) > 25
    assert names - exported().keys() == set()


def test_every_label_in_an_expression_is_exported() -> None:
    labels = exported()
    for text in expressions():
        series = re.findall(r"((?:llamahttp:|llamacpp:|process_)\w+)\{([^}]*)\}", text)
        grouped = set(re.findall(r"by \((\w+)\)", text))
        assert series, text
        for name, matchers in series:
            used = set(re.findall(r"(\w+)\s*=", matchers)) | grouped
            assert used - labels[name] - {"instance"} == set(), text


def test_the_server_exports_what_the_dashboard_says_of_its_own_series() -> None:
    """What is measured and shown nowhere is measured in vain."""
    own = {name for name in exported() if name.startswith("llamahttp:")}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in own}
    text = " ".join(expressions()) + json.dumps(BOARD["templating"])
    assert {name for name in families if name not in text} == {"llamahttp:http_requests_open"}


@pytest.mark.parametrize("key", ["title", "uid", "schemaVersion", "panels", "templating", "time", "refresh"])
def test_grafana_has_what_it_needs(key: str) -> None:
    assert BOARD[key]


def test_panels_are_complete() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in SHOWN:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["refId"]
            assert target["expr"].count("(") == target["expr"].count(")")
            assert target["expr"].count("{") == target["expr"].count("}")
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_variables_that_are_used_are_defined() -> None:
    defined = {variable["name"] for variable in BOARD["templating"]["list"]} | {"__rate_interval", "__all"}
    used = {a or b for a, b in re.findall(r"\$(?:\{(\w+)\}|(\w+))", json.dumps(BOARD))}
    assert used == defined


def test_panels_do_not_overlap() -> None:
    for one, other in itertools.combinations(PANELS, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{one['title']} and {other['title']}"
        assert a["x"] + a["w"] <= 24
