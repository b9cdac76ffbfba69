"""The plots of a report as SVG files that stand alone: no script, nothing loaded from elsewhere."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pygal  # type: ignore[import-untyped]
from pygal.style import CleanStyle  # type: ignore[import-untyped]

# pygal leaves a finder for its plugins behind that Python 3.11 warns of at every later import that finds nothing.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

_SCRIPT = re.compile(rb"<script.*?</script>", re.DOTALL)
_STYLE = CleanStyle(font_family="sans-serif", background="white", plot_background="white")
_OPTIONS: dict[str, Any] = {
    "style": _STYLE,
    "js": [],
    "no_prefix": True,
    "width": 900,
    "height": 420,
    "legend_at_bottom": True,
    "pretty_print": True,
}


def draw(report: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw what the report has figures for; returns the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    charts: dict[str, Any] = {}
    compared = [measured for measured in report["scenarios"] if "direct_rate" in measured["medians"]]
    compared = [measured for measured in compared if "throughput_ratio" in measured["medians"]]
    if compared:
        charts["throughput.svg"] = _throughput(compared)
    for part in report["parts"]:
        if part["name"] == "batch":
            charts["batch.svg"] = _against_load(part, "Batch size as the load rises", ["batch"], "operations")
            charts["latency.svg"] = _against_load(part, "Latency as the load rises", ["p50 ms", "p99 ms"], "ms")
    for name, chart in charts.items():
        # Drawn without the program's own note of its version and time: the same figures give the same file.
        (folder / name).write_bytes(_SCRIPT.sub(b"", chart.render()) + b"\n")
    return list(charts)


def _throughput(compared: Sequence[Mapping[str, Any]]) -> Any:
    chart = pygal.Bar(title="Answers per second, median of the rounds", x_label_rotation=20, **_OPTIONS)
    chart.x_labels = [measured["name"] for measured in compared]
    sides = {"service": "service", "direct": "direct baseline, its best pool", "pgbench": "pgbench, 8 clients"}
    for side, title in sides.items():
        rates = [measured["medians"].get(f"{side}_rate") for measured in compared]
        if any(rates):
            chart.add(title, [round(rate) if rate else None for rate in rates])
    return chart


def _against_load(part: Mapping[str, Any], title: str, columns: Sequence[str], unit: str) -> Any:
    chart = pygal.XY(
        title=f"{title} ({unit})", x_title="served requests per second, one wallet", logarithmic=True, **_OPTIONS
    )
    served = part["columns"].index("served/s")
    chart.xrange = (1, max(row[served] for row in part["rows"]))
    for column in columns:
        at = part["columns"].index(column)
        chart.add(column, [(row[served], row[at]) for row in part["rows"]])
    return chart
