"""What Prometheus would see: the samples of a process, and what the expressions of dashboard and alerts ask for."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.service import Client

MONITORING = Path(__file__).parents[1] / "monitoring"
_TEXT = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf"\b(wallet_\w+|process_\w+|up)\b(?:\{{((?:[^{{}}\"]|{_TEXT})*)\}})?")
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_TEXT})")
_GROUPED = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True)
class Sample:
    """One line of a scrape."""

    name: str
    labels: Mapping[str, str]
    value: float


async def scrape(port: int) -> list[Sample]:
    """Return what the process on this port exports; [] while it does not answer."""
    client = Client(f"http://127.0.0.1:{port}")
    try:
        answer = await client.get("/metrics")
    except OSError:
        return []
    finally:
        await client.close()
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return [Sample(s.name, s.labels, s.value) for family in families for s in family.samples]


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """Return the sum of the samples of that name which have these labels."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression of the dashboard and of the alerts, with what it belongs to."""
    dashboard = json.loads((MONITORING / "grafana/dashboards/wallet.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def selectors(expression: str) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """Return each metric that an expression asks for, with its matchers: label to (operator, value)."""
    found = []
    for name, matchers in _SELECTOR.findall(expression):
        pairs = {label: (operator, json.loads(value)) for label, operator, value in _MATCHER.findall(matchers or "")}
        found.append((name, pairs))
    return found


def grouping_labels(expression: str) -> set[str]:
    """Return the labels that an expression groups by."""
    return {label.strip() for labels in _GROUPED.findall(expression) for label in labels.split(",") if label.strip()}
