"""Ask git what changed: since a proof's entry in the log, in the working tree, and how many commits there are."""

import subprocess
from pathlib import Path

from tests.support.proofs.runner.proof import Proof

ROOT = Path(__file__).resolve().parents[4]
LOGS = ("tests/proofs/LOG.md", "tests/bench/LOG.md")
NO_README = ":(exclude,glob)**/README.md"


def missing_paths(proof: Proof) -> list[str]:
    """Return the declared paths that don't exist."""
    return [name for name in proof.paths if not (ROOT / name.removeprefix("!")).exists()]


def pathspecs(proof: Proof) -> list[str]:
    """Return git's pathspecs for a proof and what it depends on.

    A README changes no claim, so each is left out, except of a proof that names one.
    """
    includes = [name for name in proof.paths if not name.startswith("!")]
    excludes = [f":(exclude){name.removeprefix('!')}" for name in proof.paths if name.startswith("!")]
    readmes = [] if any(name.endswith("README.md") for name in includes) else [NO_README]
    return [str(proof.path.relative_to(ROOT)), *includes, *excludes, *readmes]


def has_changed(proof: Proof, commit: str) -> bool:
    """Say whether the proof or what it depends on differs from that commit, in a file that isn't committed yet too.

    A commit that this clone doesn't have counts as a change.
    """
    wanted = pathspecs(proof)
    if git("diff", "--quiet", commit, "--", *wanted).returncode != 0:
        return True
    return bool(git("ls-files", "--others", "--exclude-standard", "--", *wanted).stdout.strip())


def uncommitted() -> list[str]:
    """Return what differs from HEAD, except the logs themselves."""
    lines = git("status", "--porcelain").stdout.splitlines()
    return [line for line in lines if line[3:] not in LOGS]


def commit_count() -> int:
    """Return how many commits lead to HEAD; 0 where there is no repository."""
    counted = git("rev-list", "--count", "HEAD")
    return int(counted.stdout) if counted.returncode == 0 else 0


def head() -> str:
    """Return HEAD's short commit id."""
    return git("rev-parse", "--short=12", "HEAD").stdout.strip()


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in this checkout."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
