"""Shows that maintenance is announced with a time zone, and that its model is silent exactly while it lasts."""

from pathlib import Path

import pytest

from calmops.foundation.errors import ConfigError
from calmops.objectives.promises.maintenance import maintained, read_maintenance
from calmops.objectives.rules.maintenance_rules import maintenance_rules

BEGINS_S = 1796162400  # 2026-12-01T22:00:00Z
FILE = """maintenance:
  - {model: m, begins: 2026-12-01T22:00:00Z, ends: 2026-12-01T23:00:00Z, reason: new driver}
  - {begins: 2026-12-02T00:00:00+01:00, ends: 2026-12-02T01:00:00+01:00, reason: everything}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "maintenance.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_model_is_in_maintenance_from_its_begin_until_just_before_its_end(tmp_path: Path) -> None:
    announced = read_maintenance(written(tmp_path, FILE))
    expected = {
        BEGINS_S - 1: set(),
        BEGINS_S: {"m"},
        BEGINS_S + 3599: {"m"},
        BEGINS_S + 3600: {""},
        BEGINS_S + 7200: set(),
    }
    assert {at_s: maintained(announced, at_s) for at_s in expected} == expected


def test_its_rules_record_nothing_before_and_after_it(tmp_path: Path) -> None:
    first, second = maintenance_rules(read_maintenance(written(tmp_path, FILE)))
    assert f">= {BEGINS_S})" in first["expr"] and f"< {BEGINS_S + 3600})" in first["expr"]
    assert (first["labels"], second["labels"]) == ({"model": "m"}, {})


def test_all_announcements_of_a_model_are_one_rule_so_that_none_ends_anothers_series(tmp_path: Path) -> None:
    more = "  - {model: m, begins: 2026-12-01T23:00:00Z, ends: 2026-12-02T01:00:00Z, reason: still}\n"
    first, second = maintenance_rules(read_maintenance(written(tmp_path, FILE + more)))
    assert first["labels"] == {"model": "m"} and first["expr"].count("\nor\n") == 1
    assert f">= {BEGINS_S + 3600})" in first["expr"] and " or" not in second["expr"]


def test_an_empty_file_announces_nothing(tmp_path: Path) -> None:
    assert not read_maintenance(written(tmp_path, "# none\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "maintenance:\n  - {begins: 2026-12-01T22:00:00Z, ends: 2026-12-01T21:00:00Z, reason: r}\n",
            "must lie after begins",
        ),
        (
            "maintenance:\n  - {begins: 2026-12-01T22:00:00, ends: 2026-12-01T23:00:00, reason: r}\n",
            "a time with its zone",
        ),
        ("maintenance:\n  - {begins: soon, ends: later, reason: r}\n", "a time with its zone"),
        ("maintenance:\n  - {begins: 2026-12-01T22:00:00Z, ends: 2026-12-01T23:00:00Z}\n", "reason: is missing"),
    ],
)
def test_maintenance_that_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_maintenance(written(tmp_path, text))
    assert message in str(refused.value) and "maintenance.yaml:2" in str(refused.value)
