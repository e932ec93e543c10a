"""The builders stay light: a process that only names the applications doesn't load torch."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "deepspeed")


def test_naming_the_applications_imports_no_torch() -> None:
    """`calmops up`, `serve build` and Serve's controller name a replica; only the ranks' own processes load it."""
    program = (
        f"import sys, actors.launch.deploy, actors.built; print([name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
