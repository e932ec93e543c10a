"""Prometheus, Alertmanager and their tools are found on PATH, or fetched where Debian's packages are to be had.

Fetched programs are unpacked into the state folder, not installed, so that no service starts by itself.
"""

import os
import shutil
import subprocess
from pathlib import Path

from calmops.foundation.errors import SetupError

PACKAGES = ("prometheus", "prometheus-alertmanager")
PROGRAMS = {  # our names to Debian's, which renamed one
    "prometheus": "prometheus", "promtool": "promtool", "alertmanager": "prometheus-alertmanager", "amtool": "amtool",
}  # fmt: skip
TEMPLATE = Path("usr/share/prometheus/alertmanager")  # under /: Debian's Alertmanager looks nowhere else for it
FETCH_S = 300.0
HOW = "put prometheus, promtool, alertmanager and amtool on PATH (https://prometheus.io/download)"


def install(folder: Path) -> str:
    """Fetch the programs that are missing; return where they all are. Raises SetupError with the remedy."""
    missing = [name for name in PROGRAMS if _find(folder, name) is None]
    if missing:
        _fetch(folder, missing)
    if program(folder, "alertmanager").is_relative_to(folder):
        _show_template(folder)
    return ", ".join(sorted({str(program(folder, name).parent) for name in PROGRAMS}))


def program(folder: Path, name: str) -> Path:
    """Return where one of PROGRAMS is. Raises SetupError if it isn't there."""
    path = _find(folder, name)
    if path is None:
        raise SetupError(f"{name} is neither on PATH nor in {folder}; run `calmops setup prometheus`, or {HOW}")
    return path


def _find(folder: Path, name: str) -> Path | None:
    for debian in (name, PROGRAMS[name]):
        unpacked = folder / "usr" / "bin" / debian
        if unpacked.is_file():
            return unpacked
        if installed := shutil.which(debian):
            return Path(installed)
    return None


def _fetch(folder: Path, missing: list[str]) -> None:
    lacking = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if lacking:
        raise SetupError(
            f"{' and '.join(missing)} can't be fetched: this machine has no {' and '.join(lacking)}; {HOW}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        try:
            _run(["apt-get", "download", "-q", package], folder)
        except SetupError:
            if os.geteuid() != 0:
                raise
            _run(["apt-get", "update", "-q"], folder)  # its lists may be old or missing
            _run(["apt-get", "download", "-q", package], folder)
        fetched = sorted(folder.glob(f"{package}_*.deb"))
        if not fetched:
            raise SetupError(f"apt-get downloaded no {package} into {folder}; {HOW}")
        _run(["dpkg-deb", "-x", str(fetched[-1]), str(folder)], folder)
        fetched[-1].unlink()


def _show_template(folder: Path) -> None:
    """Put a link to the unpacked template where Debian's Alertmanager looks for it."""
    wanted, unpacked = "/" / TEMPLATE, folder / TEMPLATE
    if (wanted / "default.tmpl").is_file():
        return
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.unlink(missing_ok=True)  # a link whose folder is gone
        wanted.symlink_to(unpacked, target_is_directory=True)
    except OSError as error:
        raise SetupError(
            f"Debian's Alertmanager reads its template from {wanted}, which can't be made here ({error.strerror}); "
            f"as root: ln -sfn {unpacked} {wanted}, or {HOW}"
        ) from error


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, timeout=FETCH_S, check=False, capture_output=True, text=True)
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"`{' '.join(command)}` wasn't done after {FETCH_S:g} s; {HOW}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-400:].strip()
        raise SetupError(
            f"`{' '.join(command)}` ended with {done.returncode}: {said}; run `apt-get update` first, or {HOW}"
        )
