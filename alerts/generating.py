"""What is generated from a folder of promises, by the file's path within it. Compared in tests, written by `calmops slo generate`."""

from pathlib import Path

from alerts.reading import Folder
from alerts.scenarios import rule_tests
from calmops.objectives.notifying import alertmanager_file
from calmops.objectives.rules import as_yaml, rule_file

RULES = "generated/prometheus-rules.yaml"
ALERTMANAGER = "generated/alertmanager.yaml"


def generated(folder: Folder) -> dict[str, str]:
    """Every file's text."""
    promises = folder.promises
    tests = {
        f"rule_tests/{one.name}.yaml": as_yaml(rule_tests(one, promises.windows, f"../{RULES}")) for one in promises.objectives
    }
    return {
        RULES: as_yaml(rule_file(promises, folder.links)),
        ALERTMANAGER: as_yaml(alertmanager_file(folder.receivers, promises.objectives)),
        **tests,
    }


def differing(files: dict[str, str], folder: Path) -> list[str]:
    """Those that aren't in the folder as they should be, and those that shouldn't be there any more."""
    wrong = [name for name, text in files.items() if not _says(folder / name, text)]
    stale = [f"rule_tests/{path.name}" for path in sorted((folder / "rule_tests").glob("*.yaml"))]
    return wrong + [name for name in stale if name not in files]


def write(files: dict[str, str], folder: Path) -> list[str]:
    """Bring the folder up to date; what changed."""
    changed = differing(files, folder)
    for name in changed:
        path = folder / name
        if name not in files:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name], encoding="utf-8")
    return changed


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
