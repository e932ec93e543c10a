"""What others found in the answers, as two dashboards show it: nothing is found here, it is reported to /admin/reports."""

from calmops.foundation import metric_names as names
from dashboards.pages.panels import RATE, Lines, Query, Section, chosen

VERSION = chosen("model", "version", "variant")
_EVERY = f"sum by (name, model) (rate({names.REPORTS.name}{{{VERSION}}}[{RATE}])) > 0"
_BAD = f'sum by (name, model) (rate({names.REPORTS.name}{{{VERSION}, result="bad"}}[{RATE}]))'
ANSWERS = Section("What others found in the answers", (
    Lines("Bad answers, of those looked at", "percentunit", (Query(f"{_BAD} / ({_EVERY})", "{{name}} {{model}}"),), says="Hallucinations, personal data, and what else scanners and judges report; empty where none does."),
    Lines("Drift", "short", (Query(f"{names.REPORTED_VALUE.name}{{{VERSION}}}", "{{name}} {{model}} {{version}}"),), says="Distance from the baseline, in the check's own unit."),
))  # fmt: skip
