"""The gateway's process stays light."""

import subprocess
import sys


def test_a_gateway_loads_no_engine() -> None:
    engine = {"torch", "transformers", "deepspeed"}
    code = f"import sys, actors.gateway.deployment; print(sorted({engine} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout == "[]\n"
