"""Imports go downward: no circle among files, and each room imports only the floors below it."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.unit.test_tidy import ROOT, imports_of, name_of, our_files

# Rooms of a package from the top floor down. A room imports those on floors below, never one beside or above it.
# Files that lie in the package itself stand on the top floor, unless their name is listed.
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "actors": (
        ("commands", "__main__"),
        ("launch",),
        ("built",),
        ("app",),
        ("gateway", "replica", "meter", "router"),
        ("cluster",),
    ),
    "platform/calmops/telemetry": (("exposition",), ("metering",), ("log",), ("settings",)),
    "platform/calmops/objectives": (("promises_folder", "rule_tests"), ("rules", "evaluation"), ("promises",)),
    "platform/calmops/engine": (("engine",), ("backends",), ("kernel", "cuda")),
    "platform/calmops/training": (
        ("train",),
        ("release",),
        ("card", "loop"),
        ("dataset",),
        ("training_options", "model"),
        ("data",),
    ),
    "platform/calmops/cli": (("main",), ("commands",)),
    "dashboards": (("commands",), ("grafana", "generate"), ("pages",), ("ownership",)),
}
# Where two rooms of one floor meet on purpose: (importer, imported).
MEETINGS = {
    "actors": {("router", "gateway")},  # the old path of the router, for one release
    "platform/calmops/objectives": {("evaluation", "rules")},  # the names and steps of the series, which both count in
    "dashboards": {("grafana", "generate")},
}


def modules() -> dict[str, Path]:
    """Every module that ships, by its dotted name."""
    names = {}
    for file in our_files():
        relative = file.relative_to(ROOT / "platform" if file.is_relative_to(ROOT / "platform") else ROOT)
        names[".".join(relative.with_suffix("").parts).removesuffix(".__init__")] = file
    return names


def imported_files(file: Path, known: dict[str, Path]) -> set[Path]:
    """The files of ours that a file imports, wherever in it."""
    files = set()
    for name, _ in imports_of(file):
        target = name if name in known else name.rpartition(".")[0]
        if target in known and known[target] != file:
            files.add(known[target])
    return files


def test_no_files_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {name_of(file): {name_of(other) for other in imported_files(file, known)} for file in known.values()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_only_the_floors_below_them(package: str) -> None:
    level = {room: number for number, rooms in enumerate(FLOORS[package]) for room in rooms}
    known = modules()
    wrong = []
    for file in known.values():
        if not name_of(file).startswith(f"{package}/"):
            continue
        room = file.relative_to(ROOT / package).with_suffix("").parts[0]
        for other in imported_files(file, known):
            if not name_of(other).startswith(f"{package}/"):
                continue
            target = other.relative_to(ROOT / package).with_suffix("").parts[0]
            if room == target or "__init__" in (room, target) or target not in level:
                continue
            if level.get(room, -1) >= level[target] and (room, target) not in MEETINGS.get(package, set()):
                wrong.append(f"{name_of(file)} imports {name_of(other)}")
    assert not wrong


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_of_a_floor_exists(package: str) -> None:
    missing = [
        room
        for rooms in FLOORS[package]
        for room in rooms
        if not (ROOT / package / room).is_dir() and not (ROOT / package / f"{room}.py").is_file()
    ]
    assert not missing
