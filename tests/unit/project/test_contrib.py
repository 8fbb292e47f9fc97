"""contrib: the board and the alert rules ask for metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from anycast_sdn.views.metrics import METRICS

CONTRIB = Path(__file__).parents[3] / "contrib"
RULES = CONTRIB / "prometheus" / "anycast-sdn.rules.yaml"
SCRAPE = CONTRIB / "prometheus" / "prometheus.yaml"
BOARD: Any = json.loads((CONTRIB / "grafana" / "anycast-sdn.json").read_text())
ALERTS: Any = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [alert["expr"] for alert in ALERTS] + [each["expr"] for panel in PANELS for each in panel["targets"]]

LABELS: dict[str, set[str]] = {}
for row in (row for rows in METRICS.values() for row in rows):
    LABELS[row.shown_name] = set(row.labels)
    if row.type.__name__.startswith(("Histogram", "Summary")):
        LABELS |= {f"{row.shown_name}_{part}": {"le"} | set(row.labels) for part in ("bucket", "sum", "count")}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_name_metrics_and_labels_that_there_are(expression: str) -> None:
    named = re.findall(r"\b(anycast_sdn_\w+)(?:\{(.*?)\})?", expression)
    for name, selectors in named:
        assert name in LABELS
        assert set(re.findall(r"(\w+)!?=", selectors)) <= LABELS[name]
    known = set().union(*(LABELS[name] for name, _ in named)) | {"job"}
    for grouping in re.findall(r"\bby \((.*?)\)", expression):
        assert set(grouping.split(", ")) <= known


def test_each_alert_says_what_is_wrong_and_how_bad_that_is() -> None:
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"]["summary"]
        labels = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
        by = re.findall(r"\bby \((.*?)\)", alert["expr"])
        known = set(by[0].split(", ")) if by else set().union(*LABELS.values(), {"instance"})
        assert labels <= known


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    cells = [
        (place["x"] + column, place["y"] + line)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for column in range(place["w"])
        for line in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with the package prometheus")
@pytest.mark.parametrize("check", [("rules", RULES), ("config", SCRAPE)], ids=["rules", "config"])
def test_promtool_accepts_rules_and_configuration(check: tuple[str, Path]) -> None:
    what, file = check
    done = subprocess.run(["promtool", "check", what, str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
