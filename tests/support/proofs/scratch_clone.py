"""A scratch clone of this checkout's HEAD, in which files are edited, generators run and tests run."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.support.proofs import kit

# What `make gen` runs, with this interpreter.
GENERATORS = (
    ("calmops.cli.main", "slo", "generate"),
    ("calmops.cli.main", "dashboards", "generate"),
    ("tests.support.golden_exposition",),
)
SCHEMA = "platform/deploy/calmops.schema.json"
LIMIT_S = 900


class Edit(NamedTuple):
    """One change of a file: ``old`` stands in it exactly once, ``new`` takes its place."""

    file: str
    old: str
    new: str


class ScratchClone:
    """One clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{folder / 'platform'}{os.pathsep}{folder}"
        self._environment = os.environ | {"PYTHONPATH": path, "CALMOPS_HOME": str(folder / "home")}

    def edit(self, edits: Sequence[Edit]) -> set[str]:
        """Make the changes; return the files that were edited. AssertionError if an anchor isn't there exactly once."""
        for change in edits:
            file = self.folder / change.file
            text = file.read_text(encoding="utf-8")
            times = text.count(change.old)
            assert times == 1, f"{change.file}: the anchor stands there {times} times, not once: {change.old!r}"
            file.write_text(text.replace(change.old, change.new), encoding="utf-8")
        return {change.file for change in edits}

    def generate(self) -> None:
        """Write what is generated, as `make gen` does."""
        schema = self.python("-m", "calmops.cli.main", "config", "schema")
        (self.folder / SCHEMA).write_text(schema, encoding="utf-8")
        for module, *arguments in GENERATORS:
            self.python("-m", module, *arguments)

    def changed(self) -> set[str]:
        """Return the tracked files that differ from HEAD."""
        return set(self._run(["git", "diff", "--name-only"]).stdout.split())

    def python(self, *arguments: str) -> str:
        """Run Python in the clone; return what it printed. AssertionError with its last words if it fails."""
        done = self._run([sys.executable, *arguments])
        said = (done.stdout + done.stderr)[-2000:]
        assert done.returncode == 0, f"python {' '.join(arguments)} ended with {done.returncode}: {said}"
        return done.stdout

    def failed_tests(self, *paths: str) -> list[str]:
        """Run tests on two workers; return those that failed."""
        done = self._run([sys.executable, "-m", "pytest", "-q", "-n", "2", *paths])
        print("\n".join(done.stdout.splitlines()[-3:]), flush=True)
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return (
            failed if done.returncode == 0 or failed else [f"pytest ended with {done.returncode}: {done.stdout[-500:]}"]
        )

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=environment or self._environment, capture_output=True, text=True,
            check=False, timeout=LIMIT_S,
        )  # fmt: skip


@contextmanager
def scratch_clone() -> Iterator[ScratchClone]:
    """A clone of HEAD, removed at the end."""
    with TemporaryDirectory(prefix="calmops-trial-") as parent:
        folder = Path(parent) / "calmops"
        subprocess.run(["git", "clone", "--quiet", str(kit.ROOT), str(folder)], check=True, timeout=LIMIT_S)
        home = folder / "home"
        home.mkdir()
        (home / "build").symlink_to(kit.BUILT)
        yield ScratchClone(folder)
