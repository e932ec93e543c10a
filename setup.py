"""A wheel carries deploy files, runbooks and constraints inside calmops; pyproject.toml holds everything else.

In a checkout they lie beside the package (platform/deploy, runbooks, constraints.txt). No table of package data can
express that.
"""

from pathlib import Path
from shutil import copy, copytree

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = {"deploy": ROOT / "platform" / "deploy", "runbooks": ROOT / "runbooks"}


class BuildWithFolders(build_py):
    """Copies them to where an installed calmops looks for them: beside its modules."""

    def run(self) -> None:
        """Build as usual, then copy; an editable install reads the checkout itself."""
        super().run()
        if not self.editable_mode:
            present = {name: folder for name, folder in CARRIED.items() if folder.is_dir()}
            for name, folder in present.items():
                copytree(folder, Path(self.build_lib) / "calmops" / name, dirs_exist_ok=True)
            copy(ROOT / "constraints.txt", Path(self.build_lib) / "calmops")


setup(cmdclass={"build_py": BuildWithFolders})
