"""What `make faults` writes: nothing that went wrong is left out of the table."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults import run
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import Result


def result(stall_seconds: float, *violations: str) -> Result:
    return Result(SCENARIOS[0], 12, Counter({"200": 9, "400": 2, "500": 1}), stall_seconds, list(violations))


def test_table__shows_violations_missed_limits_and_statuses_that_nobody_expects() -> None:
    good, bad = run.table([result(0.5), result(1.5, "a sentence")]).splitlines()[2:]

    assert "| 12 | 9 | 2 |" in good
    assert good.endswith("| 0.50 s (≤ 1 s) | 0 |")
    assert "500" in good
    assert bad.endswith("| 1.50 s (≤ 1 s: missed) | 1 |")


def test_report__keeps_what_people_wrote_around_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "reliability.md"
    report.write_text(f"before\n{run.BEGIN}\nthe table of last time\n{run.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(run, "REPORT", report)

    run.write_report([result(0.5)])

    text = report.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "of last time" not in text
    assert SCENARIOS[0].title in text


def test_scenarios__have_ids_of_their_own() -> None:
    assert len({scenario.id for scenario in SCENARIOS}) == len(SCENARIOS)
