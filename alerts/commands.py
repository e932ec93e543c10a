"""Adds `calmops slo`, which checks what is promised and generates the rules that watch it.

Reads and writes a folder of promises. Knows neither PromQL nor a running platform.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from alerts.generate import SHIPPED, generated, once_generated
from calmops.cli.generated_files import differing, tell, write
from calmops.cli.output import AS_JSON, print_json, print_table, table_of
from calmops.objectives.promises.objective import AnyObjective, Ratio, Value
from calmops.objectives.promises.windows import Windows, span
from calmops.objectives.promises_folder import read_folder

SIGNS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
COLUMNS = ("objective", "promise", "severity", "alert", "team", "windows", "left out")
FOLDER = Annotated[
    Path,
    typer.Option(
        "--folder",
        "-f",
        help="Folder with objectives/, and optionally windows.yaml, receivers.yaml, maintenance.yaml, links.yaml.",
    ),
]


def commands(app: typer.Typer) -> None:
    """Add this package's commands to the command line."""
    group = typer.Typer(
        help="Check the objectives (OpenSLO) and generate the rules that alert when one isn't kept.",
        no_args_is_help=True,
    )
    group.command("check")(check)
    group.command("generate")(generate)
    app.add_typer(group, name="slo")


def check(folder: FOLDER = SHIPPED, as_json: bool = AS_JSON) -> None:
    """Read every objective and show which windows can fire for it. Name problems by file, line and remedy (exit 2)."""
    promises = read_folder(folder).promises
    rows = [_row(one, promises.windows) for one in promises.objectives]
    if as_json:
        print_json({"folder": str(folder), "objectives": rows})
    else:
        print_table(table_of(rows, list(COLUMNS)))


def generate(
    folder: FOLDER = SHIPPED,
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with code 1 if a file differs.")
    ] = False,
    as_json: bool = AS_JSON,
) -> None:
    """Write Prometheus rules, Alertmanager's configuration and promtool tests into the folder."""
    files = generated(read_folder(folder))
    changed = (differing if only_check else write)(files, folder, once_generated(folder))
    tell(files, folder, changed, only_check=only_check, as_json=as_json)


def _row(objective: AnyObjective, windows: Windows) -> dict[str, Any]:
    usable, left_out = windows.of(objective) if isinstance(objective, Ratio) else ([], [])
    return {
        "objective": objective.name,
        "promise": _promise(objective),
        "severity": objective.severity,
        "alert": objective.alert,
        "team": objective.team,
        "windows": ", ".join(one.name for one in usable),
        "left out": ", ".join(
            f"{one.name} ({one.factor:g} x {objective.budget:g} >= 1)"
            for one in left_out
            if isinstance(objective, Ratio)
        ),
    }


def _promise(objective: AnyObjective) -> str:
    if isinstance(objective, Value):
        return f"{objective.gauge} {SIGNS[objective.op]} {objective.bound:g}, except for up to {span(objective.for_s)}"
    within = f" within {objective.source.within_s:g} s" if objective.source.within_s is not None else ""
    share = f"{objective.target:.12g} of" if isinstance(objective, Ratio) else "all"
    return f"{share} {objective.source.events}{within}"
